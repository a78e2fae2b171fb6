"""The conformance checks on a healthy plugin, and on the same plugin broken in one place at a time."""

import numpy as np
import pytest
import torch

from unnoise.errors import UserError
from unnoise.testing import CHECKS, run_checks


@pytest.fixture
def parts(toy):
    from unnoise_toy import parts

    return parts


def outcome(name, **kwargs):
    """The result of one check on the toy plugin."""
    (result,) = run_checks("toy", only=[name], **kwargs)
    assert result.name == name
    return result


def test_a_healthy_plugin_passes(toy):
    results = run_checks("toy")
    assert [r.name for r in results] == list(CHECKS)
    assert [r.name for r in results if not r.ok] == []
    assert {r.name: r.detail for r in results if r.status == "skipped"} == {
        "padding_changes_nothing": "no axis of variable size"
    }


def test_unknown_names(toy):
    with pytest.raises(UserError, match="no modality named 'tog'"):
        run_checks("tog")
    with pytest.raises(UserError, match="no check 'round_tripp'"):
        run_checks("toy", {"round_tripp": "?"})


def test_an_expected_failure_must_fail(parts, monkeypatch):
    passed = outcome("round_trip", expected_failures={"round_trip": "lossy"})
    assert passed.status == "unexpected pass" and not passed.ok
    monkeypatch.setattr(parts.Plane, "decode", lambda self, state: list(state.parts["x"].numpy()))
    failed = outcome("round_trip", expected_failures={"round_trip": "lossy"})
    assert failed.status == "expected failure" and failed.detail == "lossy"


def lossy_decode(self, state):
    return list((1.1 * state.parts["x"] * self.scale).numpy())


def double_precision(self, items):
    from unnoise.state import State

    return State(self.layout, {"x": torch.from_numpy(np.stack(list(items))) / self.scale * torch.nan})


def unscaled(self, items):
    from unnoise.state import State

    return State(self.layout, {"x": 100 * torch.from_numpy(np.stack(list(items)))})


def random_forward(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.randn_like(x.parts["x"])}


def batch_forward(self, x, level, context, previous=None, residuals=None):
    return {"x": x.parts["x"] - x.parts["x"].mean(0)}


def deaf_forward(self, x, level, context, previous=None, residuals=None):
    inputs = [x.parts["x"], level.c_noise["x"][:, None], torch.zeros_like(context.vector)]
    return {"x": self.net(torch.cat(inputs, 1))}


def constant_forward(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.zeros_like(x.parts["x"]) + 0 * self.net[0].weight.sum()}


def nothing_saved(self, items, folder, settings):
    return []


def dated_save(self, items, folder, settings):
    path = folder / "points.txt"
    path.write_text(str(np.random.default_rng().random()))
    return [path]


def no_picture(self, items, path, labels=()):
    path.write_text("not a picture")


def forgetful_items(self, state):
    return list((state.parts["x"] * self.scale).numpy())[:-1]


@pytest.mark.parametrize(
    ("owner", "method", "broken", "check", "cause"),
    [
        ("Plane", "decode", lossy_decode, "round_trip", "differs from state"),
        ("Plane", "decode", forgetful_items, "decodes_whatever_comes", "4 items of 5"),
        ("Plane", "encode", double_precision, "layout_honoured", "finite"),
        ("Plane", "encode", unscaled, "statistics_measured", "deviation"),
        ("Plane", "save", nothing_saved, "files_and_preview", "wrote no file"),
        ("Plane", "save", dated_save, "files_and_preview", "points.txt differs"),
        ("Plane", "preview", no_picture, "files_and_preview", "no PNG"),
        ("MLP", "forward", random_forward, "seeds_hold", "depends on the batch"),
        ("MLP", "forward", batch_forward, "seeds_hold", "depends on the batch"),
        ("MLP", "forward", deaf_forward, "conditions_matter", "'class' changes nothing"),
        ("MLP", "forward", constant_forward, "overfits", "mean loss only went"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_a_broken_plugin_is_told_the_cause(parts, monkeypatch, owner, method, broken, check, cause):
    monkeypatch.setattr(getattr(parts, owner), method, broken)
    result = outcome(check)
    assert result.status == "failed" and cause in result.detail


def test_statistics_that_are_no_buffers_are_missed(parts, monkeypatch):
    def fit(self, items):
        self.scale = torch.ones(())  # the buffer keeps its first value
        self.own = float(np.std(np.stack(list(items))))

    def encode(self, items):
        from unnoise.state import State

        return State(self.layout, {"x": torch.from_numpy(np.stack(list(items))) / getattr(self, "own", 1.0)})

    monkeypatch.setattr(parts.Plane, "fit", fit)
    monkeypatch.setattr(parts.Plane, "encode", encode)
    result = outcome("statistics_stored")
    assert result.status == "failed" and "encodes differently" in result.detail
