"""The installed wheels at work, without the repository: from the root folder, and from one with spaces in its name."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # make check-dist

ROOT = Path(__file__).parents[2]
QUICK = ["train.steps=1", "train.preview_every=0", "train.device=cpu", "sample.n=1", "sample.steps=2"]
SMILES = ["CCO", "CCN", "CCC", "CC(=O)O", "c1ccccc1", "CCCO", "CCCN", "OCCO", "NCCN", "CC(C)O"] * 2


@pytest.fixture
def folder(tmp_path):
    """A working folder with a space in its name."""
    (tmp_path / "my work").mkdir()
    return tmp_path / "my work"


@pytest.fixture(scope="session")
def modalities(everything):
    """Their names, as the installed plugins say."""
    facts = json.loads(everything("unnoise", "plugins", "--json", cwd="/"))
    assert facts["conflicts"] == []
    assert [p["error"] for p in facts["plugins"] if not p["ok"]] == []
    return [entry["name"] for p in facts["plugins"] for entry in p["registers"] if entry["kind"] == "modality"]


def test_every_plugin_is_there_and_nothing_of_the_repository_is(everything, distributions, modalities):
    assert len(modalities) >= len(distributions) - 1
    code = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]), sep='\\n')"
    files = everything("python", "-c", code, *(d.package for d in distributions), cwd="/").split("\n")[:-1]
    assert len(files) == len(distributions)
    assert all(Path(file).is_relative_to(everything.bin.parent) for file in files)


def test_from_the_root_folder(everything, modalities):
    assert everything("unnoise", "--help", cwd="/").startswith("unnoise: ")
    for modality in modalities:
        text = everything("unnoise", "train", f"modality={modality}", "--cfg", "job", cwd="/")
        assert f"modality: {modality}" in text


def test_the_doctor_is_content(everything, folder):
    assert "!!" not in everything("unnoise", "doctor", cwd=folder)


@pytest.mark.parametrize("modality", ["image", "molecules"])
def test_training_and_sampling_in_a_folder_with_spaces(everything, modalities, folder, modality):
    (folder / "my molecules.smi").write_text("\n".join(SMILES))
    own = {"image": ["data=digits"], "molecules": ["data=file", "data.path=my molecules.smi"]}
    run = "run=first runs/one"
    everything("unnoise", "train", f"modality={modality}", *own[modality], *QUICK, run, cwd=folder)
    everything("unnoise", "sample", run, "n=2", "steps=2", "out=some samples", cwd=folder)
    assert (folder / "some samples" / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_core_alone_says_which_plugin_is_missing(core_only, folder):
    assert "no plugins installed" in core_only("unnoise", "plugins", cwd="/")
    text = core_only("unnoise", "train", "modality=image", cwd=folder, code=2)
    assert "pip install unnoise-image" in text
    assert "!!" not in core_only("unnoise", "doctor", cwd=folder)


def test_core_passes_its_tests_alone(core_only):
    words = ["-q", "-p", "no:cacheprovider", ROOT / "tests" / "core"]
    text = core_only("python", "-m", "pytest", *words, cwd=ROOT, PYTHONDONTWRITEBYTECODE="1")
    assert " passed" in text
