"""Run folders damaged at random: what comes of them is the model as it was, or an error that says so."""

import json
import os
import random
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from damage import CONFIG, Late, checkpoint_of, join, note_digest, split, within

import unnoise
from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.plugins import registry
from unnoise.runs import train

TOY = Path(__file__).parents[1] / "third_party" / "toy"
READ = ("manifest.json", "state.json", "ema.safetensors")
"""What loading reads."""
SECONDS = 5.0
STRANGE = [
    None, True, False, -1, 0, 1, 7, 10**12, -(10**12), 2**63 - 1, 10**40, 1e308, -0.5, 1e-320, float("nan"),
    float("inf"), "", " ", "x" * 5000, "canary:boom", "canary.boom", "os:system", "../../canary", "/dev/zero", "toy",
    "mlp", "\n\x1b[2J", "\ud800", "${oc.env:HOME}", "${", "???", "items", "__class__", [], {}, [[]], [None],
    ["a", "a"], [10**9] * 3, {"": 1}, {"name": "canary:boom"}, {"_target_": "canary.boom"}, {"name": ["mlp"]},
    [1] * 3000,
]  # fmt: skip
WATCHED = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
happened = []


def _watch(event, arguments):
    if event in WATCHED:
        happened.append(event)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs: two whose weights have the same shapes, and one of another width."""
    sys.addaudithook(_watch)
    root = tmp_path_factory.mktemp("fuzz")
    torch.set_num_threads(1)
    for path in (str(TOY), str(root)):
        sys.path.insert(0, path)
    (root / "canary.py").write_text("raise SystemExit('this must never be imported')")
    registry._registry.cache_clear()
    train(CONFIG, root / "a")
    flow = {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "x0"}}}
    train({**CONFIG, "process": flow, "seed": 1}, root / "b")
    train({**CONFIG, "denoiser": {"name": "mlp", "width": 9}}, root / "c")
    yield root
    for path in (str(TOY), str(root)):
        sys.path.remove(path)
    registry._registry.cache_clear()


def points(folder):
    """Two samples of a run, whatever its own defaults are."""
    chosen = {"sampler": "ddim", "steps": 1, "spacing": "linear", "guidance": {"name": "cfg", "scale": 1.0}, "batch": 4}
    model = unnoise.load(folder, "cpu")
    return np.stack(model.sample(2, condition="upper", progress=False, **chosen).items)


def outcome(folder):
    """The samples of a damaged run, or None where it is refused as it should be."""
    try:
        with within(SECONDS):
            return points(folder)
    except UserError as error:
        assert "\n" not in error.message and error.fix and "\n" not in error.fix, error
        return None


def path_of(folder, name):
    """Where a file of a run is; of its last checkpoint, where it belongs to one."""
    return folder / name if name in ("manifest.json", "config.yaml", "metrics.jsonl") else checkpoint_of(folder) / name


def flip(path, rng):
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8, 100])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, rng):
    path.write_bytes(path.read_bytes()[: rng.choice([0, 1, 7, 8, 9, rng.randrange(path.stat().st_size)])])


def insert(path, rng):
    data, at = path.read_bytes(), rng.randrange(path.stat().st_size)
    path.write_bytes(data[:at] + rng.randbytes(rng.choice([1, 8, 300])) + data[at:])


def vanish(path, rng):
    """Gone, or something else than a file in its place."""
    path.unlink()
    made = rng.randrange(4)
    if made == 1:
        path.mkdir()
    elif made == 2:
        os.mkfifo(path)
    elif made == 3:
        path.symlink_to(rng.choice(["/dev/zero", "/nowhere", path.name, "/"]))


def places(node, found=()):
    """All (container, key) of a JSON value."""
    entries = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [*found, *((node, key) for key, _ in entries), *(place for _, entry in entries for place in places(entry))]


def confuse(path, rng):
    """One value replaced by one of another kind, or a key removed, renamed or doubled."""
    value = json.loads(path.read_text())
    container, key = rng.choice(places(value))
    kind = rng.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[str(rng.choice(["", "canary.boom", "items", key + "_", "_target_"]))] = container.pop(key)
    elif kind == 2:
        container[key] = json.loads("[" * 200 + "]" * 200)
    else:
        container[key] = rng.choice(STRANGE)
    written = json.dumps(value)
    path.write_text(written[:-1] + ', "config": 1}' if kind == 3 else written)


def confuse_config(path, rng):
    """The same in ``config.yaml``, of which JSON is a dialect. The data is the user's own to choose."""
    written = {key: node for key, node in yaml.safe_load(path.read_text()).items() if key != "data"}
    path.write_text(json.dumps(written))
    confuse(path, rng)
    if rng.randrange(4):
        tagged = rng.choice(
            ["!!python/object/apply:canary.boom []", "&a [*a, *a]", "!canary x", "${oc.env:HOME}", "? [1]"]
        )
        path.write_text(path.read_text().replace("0.5", tagged))


def swap(folder, rng):
    """Files of another run in place of one's own."""
    other = folder.parent / rng.choice("bc")
    chosen = rng.sample(READ, rng.choice([1, 1, 2]))
    for name in chosen:
        shutil.copy(path_of(other, name), path_of(folder, name))


def forge(folder, rng):
    """A tensor file whose digest is right and whose header is not."""
    path = path_of(folder, "ema.safetensors")
    header, body = split(path.read_bytes())
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry, kind = header[name], rng.randrange(9)
    if kind == 0:
        entry["dtype"] = rng.choice(["F64", "F16", "I32", "BOOL", "F8_E4M3", "F4", "C64", "PICKLE", 3, None])
    elif kind == 1:
        entry["shape"] = rng.choice(
            [[], [0], [-1], [10**9, 10**9], [2**40, 2**40], [1] * 100, "8", entry["shape"][::-1]]
        )
    elif kind == 2:
        entry["data_offsets"] = rng.choice([[0, 0], [4, 0], [-4, 4], [0, 2**62], [1], None, [0.0, 1.5]])
    elif kind == 3:
        header[rng.choice(["canary.boom", "", "x" * 5000, "weightings.x"])] = header.pop(name)
    elif kind == 4:
        del header[name]
    elif kind == 5:
        at = entry["data_offsets"][0]
        body = body[:at] + struct.pack("<f", rng.choice([float("nan"), float("inf")])) + body[at + 4 :]
    elif kind == 6:
        path.write_bytes(struct.pack("<Q", rng.choice([0, 2**63, 2**40, 10**8, len(body)])) + body)
        return note_digest(path)
    elif kind == 7:
        path.write_bytes(rng.randbytes(rng.randrange(400)))
        return note_digest(path)
    else:
        path.write_bytes(join("[" * 5000 + "]" * 5000, body))
        return note_digest(path)
    path.write_bytes(join(header, body))
    return note_digest(path)


CASES = {"flip": 120, "truncate": 50, "insert": 50, "vanish": 30, "confuse": 300, "swap": 30, "forge": 90}
"""Ways of damaging -> how many times; 670 in all."""


@pytest.mark.parametrize("way", CASES)
def test_a_damaged_run_is_the_model_it_was_or_is_refused(runs, way):
    happened.clear()
    expected, refused = points(runs / "a"), 0
    for case in range(CASES[way]):
        rng = random.Random(f"{way} {case}")
        folder = runs / "case"
        shutil.copytree(runs / "a", folder)
        target = (
            None if way in ("swap", "forge") else path_of(folder, rng.choice(READ[:2] if way == "confuse" else READ))
        )
        try:
            globals()[way](target or folder, rng)
            found = outcome(folder)
        except (Exception, Late) as error:
            raise AssertionError(
                f"{way} {case} of {target and target.name}: {type(error).__name__}: {error}"
            ) from error
        finally:
            shutil.rmtree(folder)
        refused += found is None
        assert found is None or np.array_equal(found, expected), f"{way} {case} of {target and target.name}"
    assert refused > CASES[way] // 4
    assert "canary" not in sys.modules and not happened


@pytest.mark.parametrize("case", range(60))
def test_a_damaged_run_is_resumed_as_it_was_or_is_refused(runs, tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    rng, folder = random.Random(f"resume {case}"), tmp_path / "run"
    shutil.copytree(runs / "a", folder)
    files = (
        "config.yaml",
        "manifest.json",
        "state.json",
        "optimizer.safetensors",
        "model.safetensors",
        "metrics.jsonl",
    )
    path = path_of(folder, rng.choice(files))
    own = {".json": [confuse] * 3, ".yaml": [confuse_config] * 5}.get(path.suffix, [])
    way = rng.choice([flip, truncate, insert, vanish, *own])
    way(path, rng)
    with within(4 * SECONDS):
        code = main(f"train run={folder} resume=true train.steps=5".split())
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("unnoise:", "         "))]
    assert code in (0, 2)
    assert code == 0 or (len(said) == 2 and said[0].startswith("unnoise: ")), said
    assert "canary" not in sys.modules
