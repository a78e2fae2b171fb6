"""Pictures with captions: what is mirrored, and runs from words to pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import unnoise
from unnoise.cli.compose import compose
from unnoise.cli.main import main
from unnoise.contracts import Evidence
from unnoise.errors import UserError
from unnoise.plugins import get_registry
from unnoise.runs.config import check
from unnoise.runs.train import train
from unnoise_image.data.captions import Captions
from unnoise_image.pictures import contact_sheet, fitted
from unnoise_image.retrieval import CaptionMetric

ROOT = Path(__file__).parents[2] / "configs"
COLOURS = {"red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255), "yellow": (255, 220, 0)}
PLACES = {"top": (0, 4, 0, 8), "bottom": (4, 8, 0, 8), "middle": (2, 6, 2, 6), "left side": (0, 8, 0, 4)}
GROUPS = ("signs", "shapes")


@pytest.fixture(autouse=True)
def _configs(monkeypatch):
    monkeypatch.setenv("UNNOISE_CONFIGS", str(ROOT))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Coloured blocks at named places, 8x8, each six times with its own brightness, every sixth for the test split."""
    file = tmp_path_factory.mktemp("captions") / "blocks.npz"
    rng, pictures, known = np.random.default_rng(0), [], []
    for colour, rgb in COLOURS.items():
        for place, (top, bottom, left, right) in PLACES.items():
            for _ in range(6):
                picture = np.full((8, 8, 3), 255, np.uint8)
                picture[top:bottom, left:right] = np.array(rgb) * rng.uniform(0.85, 1)
                pictures.append(picture)
                known.append({"label": f"a {colour} block, {place}", "tags": ["block", "toy", colour]})
    split = np.where(np.arange(len(pictures)) % 6 == 5, "test", "train")
    group = np.array([0 if "yellow" in entry["label"] else 1 for entry in known])
    np.savez(file, images=np.stack(pictures), split=split, group=group, group_names=np.array(["flags", "shapes"]))
    file.with_suffix(".json").write_text(json.dumps(known))
    return file


def test_an_archive_gives_pictures_words_and_groups(archive):
    data = Captions("train", path=str(archive), tags=1, mirror=False)
    assert len(data) == 80 and data[0].shape == (8, 8, 3) and data[0].dtype == np.uint8
    columns = data.columns()
    assert columns["text"].values[0] == "a red block, top, toy" and columns["class"].names == ("flags", "shapes")
    assert len(Captions("test", path=str(archive), without=["flags"])) == 12
    small = Captions("test", path=str(archive), size=4)
    assert small[0].shape == (4, 4, 3)


def test_only_pictures_whose_words_name_no_side_are_mirrored_and_only_for_training(archive):
    data = Captions("train", path=str(archive))
    texts, classes = data.columns()["text"].values, data.columns()["class"].values
    assert len(data) == 80 + 45 and data.notes() == ["captions: 80 pictures, 45 of them also mirrored"]
    extra = range(80, 125)
    assert not any("left" in texts[i] or classes[i] == 0 for i in extra)  # nor is a flag
    plain = [data[i] for i in range(80)]
    for i in extra:
        twins = [j for j in range(80) if texts[j] == texts[i] and np.array_equal(plain[j][:, ::-1], data[i])]
        assert twins and data[i].shape == (8, 8, 3)
    assert len(Captions("test", path=str(archive))) == 16
    free = Captions("train", path=str(archive), sided=[])
    assert len(free) == 160
    with np.load(archive) as found:
        left = next(i for i in range(80) if "left" in texts[i])
        assert found["images"].shape[0] == 96 and data[left][0, 0].tolist() != data[left][0, 7].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"path": "gone.npz"},
            "gone.npz is missing\ngive the .npz file of pictures: data.path=...; docs/conditions.md",
        ),
        ({"groups": ["cats"]}, "has no group 'cats'\nthere is: flags, shapes"),
        ({"size": 3}, "8x8 cannot be averaged to 3"),
        ({"groups": ["flags"], "without": ["flags"]}, "holds no captioned picture of the train split"),
    ],
)
def test_what_cannot_be_read_is_said(archive, options, message):
    with pytest.raises(UserError) as error:
        Captions("train", **{"path": str(archive), **options})
    assert message in str(error.value)


def test_pictures_without_words_are_left_out(archive, tmp_path):
    file = tmp_path / "few.npz"
    file.write_bytes(archive.read_bytes())
    known = json.loads(archive.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps([{} if i % 2 else entry for i, entry in enumerate(known)]))
    assert len(Captions("train", path=str(file), mirror=False)) == 48
    file.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="holds no captioned picture"):
        Captions("train", path=str(file))


def test_labels_of_a_sheet_stay_in_their_cell():
    class Six:
        def getlength(self, text):
            return 6 * len(text)

    assert (
        fitted("a red car", Six(), 30) == "a red"
        and fitted("abc", Six(), 5) == ""
        and fitted("abc", Six(), 18) == "abc"
    )
    items = [np.full((48, 48, 3), 255, np.uint8)] * 2
    long, short = contact_sheet(items, ["W" * 60, ""], 2), contact_sheet(items, ["W" * 60, "cat"], 2)
    assert np.asarray(long)[52:66, 57:].min() == 255 > np.asarray(short)[52:66, 57:].min()


def test_the_judge_tells_real_pairs_from_others(archive):
    train_split, test = (Captions(split, path=str(archive)) for split in ("train", "test"))
    texts = test.columns()["text"].values
    metric = CaptionMetric(among=8, max_steps=150)
    items = [test[i] for i in range(len(test))]
    (right,) = metric(Evidence(items, {"text": texts}, train_split, test))
    (wrong,) = metric(Evidence(items, {"text": np.roll(texts, 5)}, train_split, test))
    assert right.value == right.floor > 0.6 and wrong.value < 0.3 and right.ceiling == 1 / 8


SMALL = [
    "train.steps=140", "train.minutes=null", "train.batch=16", "train.lr=5e-3", "train.warmup=10",
    "train.ema.decay=0.95", "train.precision=fp32", "train.device=cpu", "conditions.options.text.hide=0",
    "conditions.dim=32", "denoiser.channels=[24,32]", "denoiser.attention=[false,true]", "denoiser.cond_dim=64",
    "denoiser.dropout=0", "denoiser.patch=1", "data.size=8", "data.tags=0", "sample.steps=8", "sample.n=4",
    "sample.guidance.scale=1.5",
]  # fmt: skip


def test_the_experiment_paints_what_words_say_and_can_be_asked_on_the_command_line(archive, tmp_path, capsys):
    run = tmp_path / "run"
    config = compose("train", ["experiment=image/captions", f"data.path={archive}", *SMALL, "data.without=[]"])
    train(asdict(config), run)
    model = unnoise.load(run)
    for colour in ("red", "blue"):
        made = model.sample(8, seed=1, condition=f"a {colour} block, top", progress=False)
        seen = np.stack(made.items).astype(float).mean((0, 1, 2))
        own = np.argmax(COLOURS[colour])
        assert seen[own] - np.delete(seen, own).max() > 30
    words = [
        f"run={run}",
        "n=2",
        "steps=2",
        "condition.text=a (red:1.2) block, (unheard-of:0.5) top",
        "negative=blue",
        f"out={tmp_path / 'out'}",
    ]
    assert main(["sample", *words]) == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["condition"] == {"text": "a (red:1.2) block, (unheard-of:0.5) top"}
    assert record["negative"] == {"text": "blue"}
    assert main(["eval", f"run={run}", "n=8", "steps=2", "split=test", "metrics=[memorisation]"]) == 0
    assert "nearest_train_ratio" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["captions", "captions_latent"])
def test_experiments_name_what_exists(name):
    check(compose("train", [f"experiment=image/{name}", "data.path=pictures.npz"]), get_registry())


def test_the_experiment_through_latents_trains_a_step(archive, tmp_path):
    small = [
        "data.size=8", "codec.channels=[8,8]", "codec.blocks=1", "codec.stem=1", "codec.latent_channels=2",
        "codec.train.steps=1", "codec.train.batch=4", "denoiser.width=32", "denoiser.depth=1", "denoiser.patch=1",
        "conditions.dim=16", "train.steps=1", "train.batch=4", "sample.n=1", "sample.steps=1", "train.device=cpu",
    ]  # fmt: skip
    run = train(
        asdict(compose("train", ["experiment=image/captions_latent", f"data.path={archive}", *small])), tmp_path / "run"
    )
    assert run.checkpoints()[-1].step == 1
