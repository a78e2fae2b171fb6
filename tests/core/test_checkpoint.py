"""Checkpoints: complete or not there, readable by anybody, and loud when they do not fit."""

import json

import pytest
import torch
from torch import nn

from unnoise import writing
from unnoise.errors import UserError
from unnoise.training import checkpoint as module
from unnoise.training.checkpoint import checkpoints, load_weights, prune, save_checkpoint
from unnoise.writing import sha256, write_json

TENSORS = {"model": {"a": torch.arange(6.0).reshape(2, 3).mT, "b": torch.tensor(3)}}


def test_what_is_saved_is_read_back(tmp_path):
    saved = save_checkpoint(tmp_path, 12, TENSORS, {"seconds": 1.5})
    (found,) = checkpoints(tmp_path)
    assert found.step == 12 and found.path == saved.path and found.state["seconds"] == 1.5
    assert all(torch.equal(found.tensors("model")[name], value) for name, value in TENSORS["model"].items())
    assert found.state["sha256"]["model.safetensors"] == sha256(saved.path / "model.safetensors")


def test_saving_a_step_again_keeps_its_tensors_and_updates_its_facts(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {"seconds": 1.0})
    again = save_checkpoint(tmp_path, 1, {"model": {}}, {"seconds": 2.0})
    assert again.state["seconds"] == 2.0 and set(again.tensors("model")) == {"a", "b"}
    assert again.state["sha256"]["model.safetensors"] == sha256(again.path / "model.safetensors")


def test_tied_weights_can_be_saved(tmp_path):
    w = torch.ones(3)
    tensors = save_checkpoint(tmp_path, 1, {"model": {"a": w, "b": w}}, {}).tensors("model")
    assert torch.equal(tensors["a"], tensors["b"])


@pytest.mark.parametrize("broken", ["save_file", "sha256", "write_json", "sync", "rename"])
def test_a_crash_at_any_moment_leaves_the_old_checkpoint_and_no_half_one(tmp_path, monkeypatch, broken):
    save_checkpoint(tmp_path, 1, TENSORS, {})

    def crash(*args, **kwargs):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        if broken == "rename":
            patch.setattr(type(tmp_path), "rename", crash)
        else:
            patch.setattr(module, broken, crash)
        with pytest.raises(UserError, match="cannot be written: power cut"):
            save_checkpoint(tmp_path, 2, TENSORS, {})
    assert [c.step for c in checkpoints(tmp_path)] == [1]
    save_checkpoint(tmp_path, 3, TENSORS, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000001", "step_00000003"]


def test_the_last_is_the_highest_step_and_is_never_pruned(tmp_path):
    for step in (2, 100_000_000, 10, 9):
        save_checkpoint(tmp_path, step, TENSORS, {})
    assert [c.step for c in checkpoints(tmp_path)] == [2, 9, 10, 100_000_000]
    prune(tmp_path, 2)
    assert [c.step for c in checkpoints(tmp_path)] == [10, 100_000_000]
    prune(tmp_path, 0)
    assert [c.step for c in checkpoints(tmp_path)] == [100_000_000] and len(list(tmp_path.iterdir())) == 1


def test_what_is_kept_beside_the_last(tmp_path):
    losses = {2: 3.0, 4: 1.0, 6: 2.0, 8: 1.0, 10: 5.0}
    for step, loss in losses.items():
        save_checkpoint(tmp_path, step, TENSORS, {"log": {"means": {"loss": loss}}})
    prune(tmp_path, 1, every=3, best="loss")
    assert [c.step for c in checkpoints(tmp_path)] == [6, 8, 10]  # the later one of two that are equally good
    save_checkpoint(tmp_path, 11, TENSORS, {})  # of a run that has written no line
    (checkpoints(tmp_path)[1].path / "state.json").write_text("rubbish")
    prune(tmp_path, 1, best="loss")
    assert [c.step for c in checkpoints(tmp_path)] == [6, 11]


def test_what_a_crash_left_behind_is_removed(tmp_path):
    save_checkpoint(tmp_path, 1, TENSORS, {})
    (tmp_path / ".step_00000002").mkdir()
    (tmp_path / ".step_00000002" / "model.safetensors").touch()
    prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def test_a_pruning_cut_short_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, TENSORS, {})
    monkeypatch.setattr(module.shutil, "rmtree", lambda path: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(UserError, match="cannot be written: power cut"):
        prune(tmp_path, 1)
    assert [c.step for c in checkpoints(tmp_path)] == [2]


def test_a_damaged_file_is_named(tmp_path):
    saved = save_checkpoint(tmp_path, 1, TENSORS, {})
    (saved.path / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        saved.tensors("model")


def test_weights_that_do_not_fit_are_named():
    net = nn.Linear(2, 3)
    with pytest.raises(UserError) as error:
        load_weights(net, {"weight": torch.zeros(2, 3), "head.bias": torch.zeros(3)}, "checkpoint c")
    for words in ("checkpoint c", "bias is missing", "head.bias is unknown", "weight has shape (2, 3) where (3, 2)"):
        assert words in str(error.value)
    load_weights(net, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, "checkpoint c")
    assert bool((net.weight == 1).all())


def test_json_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(writing, "sync", lambda path: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(UserError, match="cannot be written: power cut"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
