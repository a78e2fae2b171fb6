"""From a config to samples and scores, with a fixture plugin: run folders, resuming, loading, what is refused."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unnoise.errors import UserError
from unnoise.plugins.registry import get_registry
from unnoise.runs import Manifest, Run, evaluate, judge, load, show_scores, train, write_samples, write_scores
from unnoise.runs.generate import captions
from unnoise.writing import sha256, write_json

TOY = Path(__file__).parents[1] / "third_party" / "toy"
CONFIG = {
    "modality": "toy",
    "data": {"name": "ring", "n": 500},
    "representation": {"name": "plane"},
    "denoiser": {"name": "mlp", "width": 48},
    "process": {"*": {"name": "gaussian", "schedule": {"name": "cosine"}, "parametrization": {"name": "v"}}},
    "conditions": {"use": ["class"], "dim": 16},
    "train": {
        "steps": 500, "batch": 64, "lr": 5e-3, "warmup": 20, "log_every": 50, "checkpoint_every": 200, "device": "cpu",
    },
    "sample": {"steps": 8, "n": 6},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The registry with the toy plugin on the path."""
    from unnoise.plugins import registry

    torch.set_num_threads(1)
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    yield get_registry()
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    return train(CONFIG, tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def model(run):
    return load(run.folder, "cpu")


def test_a_run_folder_is_complete(run):
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "manifest.json", "metrics.jsonl", "checkpoints", "previews"} <= names
    assert [c.step for c in run.checkpoints()] == [400, 500] and list((run.folder / "previews").glob("*.png"))
    manifest = run.manifest
    assert manifest.versions["unnoise-toy"] == "0.1.0" and manifest.notes[0] == "500 training items"
    assert manifest.parametrizations["x"]["data_std"] == pytest.approx(1.0, abs=0.05)
    assert manifest.conditions["items"]["class"]["names"] == ["lower", "upper"]


def test_the_model_learned_its_condition(model):
    for value, sign in (("upper", 1), ("lower", -1)):
        points = np.stack(model.sample(100, condition=value, progress=False).items)
        assert (points[:, 1] * sign > 0).mean() > 0.9


def test_a_sample_depends_on_its_own_seed_only(model):
    whole = model.sample(13, seed=5, condition=["upper", "lower"], progress=False)
    batched = model.sample(13, seed=5, condition=["upper", "lower"], batch=4, progress=False)
    torch.testing.assert_close(batched.state.parts["x"], whole.state.parts["x"], rtol=1e-5, atol=1e-5)
    alone = model.sample(1, seed=12, condition="lower", progress=False)
    torch.testing.assert_close(alone.state.parts["x"][0], whole.state.parts["x"][7], rtol=1e-5, atol=1e-5)
    assert whole.record == batched.record


def test_files_are_the_same_bytes_twice(model, tmp_path):
    for name in ("a", "b"):
        samples = model.sample(5, seed=3, condition="upper", guidance_scale=2.0, negative="lower", progress=False)
        write_samples(samples, model.representation, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["points.txt", "preview.png", "record.json"]
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    record = json.loads((tmp_path / "a" / "record.json").read_text())
    assert (
        record["nfe"] == 16 and record["condition"] == {"class": "upper"} and record["negative"] == {"class": "lower"}
    )
    again = model.sample(
        record["n"], record["seed"], sampler=record["sampler"], steps=record["steps"], spacing=record["spacing"],
        guidance=record["guidance"], condition=record["condition"], negative=record["negative"], progress=False,
    )  # fmt: skip
    assert np.array_equal(np.stack(again.items), np.loadtxt(tmp_path / "a" / "points.txt").astype(np.float32))


def test_guidance_at_scale_one_is_off_and_at_two_extrapolates(model):
    plain, off = (model.sample(8, condition="upper", progress=False, **o) for o in ({}, {"guidance_scale": 1.0}))
    assert torch.equal(plain.state.parts["x"], off.state.parts["x"]) and off.record["nfe"] == 8
    strong = model.sample(200, condition="upper", guidance_scale=3.0, progress=False)
    weak = model.sample(200, condition="upper", progress=False)
    assert strong.state.parts["x"][:, 1].mean() > weak.state.parts["x"][:, 1].mean()


def test_a_shorter_steps_count_is_executed_exactly(model):
    assert model.sample(2, steps=3, sampler="heun", progress=False).record["nfe"] == model.plan("heun", 3).nfe


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"negative": "upper"}, "no effect at guidance.scale=1"),
        ({"guidance_scale": 2.0}, "nothing to guide by\nGive a condition: class"),
        ({"condition": "uper"}, "Did you mean 'upper'"),
        ({"condition": {"colour": 1}}, "no condition 'colour'"),
        ({"sizes": {"nodes": 3}}, "sizes are given for nodes"),
        ({"sampler": "ddmi"}, "ddim"),
    ],
)
def test_what_cannot_be_is_named(model, options, words):
    with pytest.raises(UserError, match=words):
        model.sample(2, progress=False, **options)


def test_captions_say_what_was_asked_for():
    both = {"class": "upper", "logp": [1.23456, None]}
    assert captions({"n": 2, "condition": both}) == ["class upper, logp 1.23", "class upper"]
    assert captions({"n": 2, "condition": {"class": ["7", None]}}) == ["7", ""]
    assert captions({"n": 2, "condition": {}}) == captions({"n": 2, "condition": {"class": None}}) == []


def test_no_samples_are_no_error(model):
    samples = model.sample(0, progress=False)
    assert samples.items == [] and samples.state.batch == 0


def test_a_folder_that_holds_a_run_is_not_overwritten(run):
    with pytest.raises(UserError, match="holds a run already"):
        train(CONFIG, run.folder)


def test_any_checkpoint_can_be_loaded(run, model):
    early = load(run.folder / "checkpoints" / "step_00000400", "cpu")
    assert early.checkpoint.step == 400 and model.checkpoint.step == 500


def copy(run, folder):
    shutil.copytree(run.folder, folder)
    return Run(folder)


def test_a_checkpoint_without_statistics_is_refused(run, tmp_path):
    broken = copy(run, tmp_path / "c")
    path = broken.checkpoint().path / "ema.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "representation.scale"}, path)
    state = broken.checkpoint().state
    write_json(path.with_name("state.json"), {**state, "sha256": {**state["sha256"], path.name: sha256(path)}})
    with pytest.raises(UserError, match=r"representation\.scale is missing"):
        load(broken.folder)


def test_a_network_of_another_size_is_refused_by_name(run, tmp_path):
    broken = copy(run, tmp_path / "d")
    manifest = json.loads(broken.manifest_path.read_text())
    manifest["config"]["denoiser"]["width"] = 8
    broken.manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"denoiser\.network.*has shape"):
        load(broken.folder)


def test_a_manifest_of_another_format_is_refused(run, tmp_path):
    broken = copy(run, tmp_path / "e")
    broken.manifest_path.write_text(json.dumps({**json.loads(broken.manifest_path.read_text()), "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        load(broken.folder)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        load(tmp_path)


def test_a_manifest_survives_its_file(run, tmp_path):
    run.manifest.save(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == run.manifest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"process": {"y": {"name": "gaussian"}}}, "no part 'y'"),
        ({"process": {"x": {"name": "categorical"}}}, "part 'x' is gaussian"),
        ({"process": {"x": {"schedul": {"name": "cosine"}}}}, "Did you mean 'schedule'"),
        ({"process": {"x": {"parametrization": {"name": "v", "data_sd": 1}}}}, "Did you mean 'data_std'"),
        ({"process": {"x": {"parametrization": "eps"}}}, "zero"),
        ({"conditions": {"use": ["klass"]}}, "Did you mean 'class'"),
        ({"stage": "both"}, "diffusion, codec"),
        ({"train": {"weighting": {"name": "minsnr"}}}, "Did you mean 'min_snr'"),
    ],
)
def test_configs_that_cannot_be_are_named(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        train({**CONFIG, **change}, tmp_path / "f")


def test_scores_stand_beside_floor_and_ceiling(model, tmp_path, capsys):
    samples, scores = evaluate(model, n=100, progress=False)
    assert len(samples.items) == 100 and [score.name for score in scores] == ["radius"]
    (score,) = scores
    assert score.floor == pytest.approx(2.0, abs=1e-3) and abs(score.value - 2.0) < 0.5
    # Noise of the data's scale has a mean radius of 2 sqrt(pi) / 2 = 1.77.
    assert score.ceiling == pytest.approx(2.0 * np.pi**0.5 / 2, abs=0.25)
    assert 20 < sum(value == "upper" for value in samples.record["condition"]["class"]) < 80
    show_scores(scores)
    assert "radius" in capsys.readouterr().out
    write_scores(scores, samples.record, tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["scores"][0]["name"] == "radius"


def test_a_metric_that_does_not_exist_is_named(model):
    from unnoise.contracts import Evidence

    with pytest.raises(UserError, match="radius"):
        judge(Evidence([], {}, None, None), "toy", ["radios"])


def test_a_representation_finishes_its_samples_with_what_was_asked_for(model, monkeypatch):
    """What conditions decide and no state holds is put in after decoding, batch by batch."""

    def finish(items, conditions):
        return [(name, item) for name, item in zip(conditions["class"].tolist(), items, strict=True)]

    monkeypatch.setattr(model.representation, "finish", finish)
    items = model.sample(3, seed=0, batch=2, raw={"class": torch.tensor([1, 0, 1])}, progress=False).items
    assert [item[0] for item in items] == [1, 0, 1]
