"""``unnoise edit`` and the picture of a sweep, with a fixture plugin."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from unnoise.cli.edit import _literal
from unnoise.cli.grid import axes, sheet
from unnoise.cli.main import main
from unnoise.cli.overrides import parsed


@pytest.fixture
def trained(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "train modality=toy denoiser=mlp conditions.use=[class] train.steps=60 train.device=cpu run=r"
    assert main(line.split()) == 0
    (tmp_path / "points.txt").write_text("2.0 0.5\n-1.5 1.0\n")
    capsys.readouterr()
    return tmp_path


def test_an_edit_writes_what_samples_write(trained, capsys):
    assert main(["edit", "variation", "run=r", "source=points.txt", "strength=0.4", "n=3", "steps=5", "out=v"]) == 0
    record = json.loads((trained / "v" / "record.json").read_text())
    assert (record["edit"], record["nfe"], record["n"]) == ({"kind": "variation", "strength": 0.4}, 5, 3)
    assert (trained / "v" / "preview.png").exists() and "3 samples" in capsys.readouterr().out
    assert main(["edit", "infill", "run=r", "source=points.txt", "mask=y", "steps=5", "out=i"]) == 0
    made = np.loadtxt(trained / "i" / "points.txt")
    np.testing.assert_allclose(made[:, 0], [2.0, -1.5], rtol=1e-6)
    assert main(["edit", "interpolate", "run=r", "seeds=[1,2]", "n=3", "steps=5", "out=b"]) == 0
    assert (
        main(["edit", "compose", "run=r", "condition=upper", "other=lower", "mask=x", "n=2", "steps=5", "out=c"]) == 0
    )
    assert main(["edit", "invert", "run=r", "source=points.txt", "steps=20", "out=e"]) == 0
    assert json.loads((trained / "e" / "record.json").read_text())["edit"]["round_trip"]["x"] < 1


@pytest.mark.parametrize("mask", ["box:1,2,3", "keep:[OH](=O)'a", r"C\C=C/C", "ends\\", r"a\'b", "'quoted,already'"])
def test_masks_need_no_quotes(mask):
    override = parsed(_literal(f"mask={mask}"))
    assert override.value() == mask.strip("'") if mask[0] == "'" else override.value() == mask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("edit run=r", "which edit?"),
        ("edit infil run=r source=points.txt", "there is no edit 'infil'. Did you mean 'infill'?"),
        ("edit variation run=r source=points.txt mask=x", "variation takes no mask"),
        ("edit variation run=r source=points.txt strength=2", "strength is 2"),
        ("edit variation run=r", "needs a source"),
        ("edit variation run=r source=none.txt", "source=none.txt does not exist"),
        ("edit infill run=r source=points.txt mask=q", "there is no mask 'q'"),
        ("edit variation run=r source=points.txt strenth=0.5", "Did you mean 'strength'?"),
    ],
)
def test_mistakes_have_two_lines(trained, capsys, line, words):
    assert main(line.split()) == 2
    error = capsys.readouterr().err.splitlines()
    assert words in error[0] and len(error) == 2 and error[1].strip()


def test_a_sweep_ends_with_one_picture(trained, capsys):
    line = "sample -m run=r n=2 steps=3,5 sampler=ddim,heun,dpmpp_2m condition=upper guidance.scale=2 out=s"
    assert main(line.split()) == 0
    out = capsys.readouterr().out
    assert re.search(r"all together: s/grid\.png", out)
    with Image.open(trained / "s" / "grid.png") as picture:
        assert picture.width > 3 * 64 and picture.height > 2 * 64
    assert not list((trained / "s").glob("*/cell.png"))
    assert main(["sample", "run=r", "n=2", "steps=3", "out=one"]) == 0
    assert "all together" not in capsys.readouterr().out


def test_what_differs_goes_across_and_down(tmp_path):
    colours = {("1", "a"): "red", ("1", "b"): "green", ("2", "a"): "blue"}  # a job of the fourth place has failed
    jobs = []
    for (scale, name), colour in colours.items():
        file = tmp_path / f"{scale}{name}.png"
        Image.new("RGB", (50, 40), colour).save(file)
        jobs.append(({"scale": scale, "run": "r", "sampler": name}, file))
    across, down = axes([settings for settings, _ in jobs])
    assert (across, down) == (["sampler"], ["scale"])
    made = np.asarray(sheet(jobs, across, down))
    solid = {name: np.argwhere((made == value).all(-1)) for name, value in
             {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255)}.items()}  # fmt: skip
    assert {name: len(found) for name, found in solid.items()} == dict.fromkeys(solid, 2000)
    (red_y, red_x), (green_y, green_x), (blue_y, blue_x) = (solid[name].min(0) for name in ("red", "green", "blue"))
    assert red_y == green_y < blue_y and red_x == blue_x < green_x
