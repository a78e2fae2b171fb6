"""What is said of every kind of damage: the exact two lines, by the public interface and on the command line."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import CONFIG, checkpoint_of, edit_json, join, note_digest, put, split, within
from safetensors.torch import load_file, save_file
from torch import nn

import unnoise
from unnoise.cli.main import main
from unnoise.errors import UserError
from unnoise.plugins import registry
from unnoise.plugins.registry import Registry
from unnoise.runs import Manifest, Run, load, train
from unnoise.runs.versions import series

TOY = Path(__file__).parents[1] / "third_party" / "toy"
DAMAGED = "The file is damaged or was changed by hand; restore it from a copy of the run."
OTHER = "Name another one, run={run}/checkpoints/step_00000002; or remove this one, and resume=true goes on from there."
MANIFEST, STATE, EMA = "{run}/manifest.json", "{last}/state.json", "{last}/ema.safetensors"


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory):
    """Run ``a``, and run ``b`` of another parametrization and schedule, whose weights have the same shapes."""
    root = tmp_path_factory.mktemp("damaged")
    torch.set_num_threads(1)
    sys.path.insert(0, str(TOY))
    registry._registry.cache_clear()
    train(CONFIG, root / "a")
    other = {"*": {"name": "gaussian", "schedule": {"name": "flow"}, "parametrization": {"name": "x0"}}}
    train({**CONFIG, "process": other}, root / "b")
    yield root
    sys.path.remove(str(TOY))
    registry._registry.cache_clear()


@pytest.fixture
def run(runs, tmp_path):
    """A copy of run ``a``, to be damaged."""
    return Path(shutil.copytree(runs / "a", tmp_path / "run"))


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """``cli("sample run=run")`` -> (exit code, what was said on stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy")

    def call(line):
        code = main(line.split())
        return code, capsys.readouterr().err.splitlines()

    return call


def refusal(run, call=None):
    """The two lines that loading a run ends with, with folders by name."""
    with within(5), pytest.raises(UserError) as caught:
        (call or (lambda: load(run, "cpu")))()
    texts = (caught.value.message, caught.value.fix)
    return [text.replace(str(checkpoint_of(run)), "{last}").replace(str(run), "{run}") for text in texts]


def in_manifest(*keys, value):
    return lambda run: put(run / "manifest.json", keys, value)


def in_state(*keys, value):
    return lambda run: put(checkpoint_of(run) / "state.json", keys, value)


def without(name, *keys):
    def change(value):
        for key in keys[:-1]:
            value = value[key]
        del value[keys[-1]]

    return lambda run: edit_json(run / name if name == "manifest.json" else checkpoint_of(run) / name, change)


def written(name, content):
    def write(run):
        path = run / name if name in ("manifest.json", "config.yaml") else checkpoint_of(run) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


SHAPES = [
    ("layout.0.classes", 10**12, "layout[0].classes: 1000000000000 is not at least 0 and at most 1,048,576"),
    ("layout.0.shape", [10**9], "layout[0].shape[0]: 1000000000 is not at least 1 and at most 1,048,576"),
    ("layout.0.shape", [-2], "layout[0].shape[0]: -2 is not at least 1 and at most 1,048,576"),
    ("layout.0.shape", [4096, 1 << 20], "layout[0].shape: [4096, 1048576] has more than 268,435,456 elements"),
    ("layout.0.shape", 2, "layout[0].shape: 2 is not a list"),
    ("layout.0.kind", "text", "layout[0].kind: 'text' is not one of gaussian, categorical"),
    ("layout.0.com_free", True, "layout: part 'x': com_free needs a gaussian part with a variable first axis"),
    ("layout.0.name", "y", "processes.parts: it is for x, the layout needs it for y"),
    ("layout", [], "layout: a layout needs parts with distinct names, not []"),
    ("conditions.dim", "4", "conditions.dim: '4' is not a whole number"),
    ("conditions.items.class.tokens", 1, "conditions.items.class.tokens: 1 is not true or false"),
    ("parametrizations.x.data_std", -1, "parametrizations.x.data_std: -1 is not above 0"),
    ("parametrizations.y", {"name": "v"}, "parametrizations: it is for x, y, the layout needs it for x"),
    ("config.train.decay", 2, "config.train.decay: 2 is not at least 0 and at most 1"),
    ("config.sample.stepz", 2, "config.sample.stepz: there is no such key. Did you mean 'steps'?"),
    ("config.data.n", "${oc.env:HOME}", "config.data.n: '${oc.env:HOME}' is an interpolation, which a finished run"),
    ("config.stage", "both", "config.stage: 'both' is not one of diffusion, codec"),
    ("versions.a; rm", "1", "versions, key: 'a; rm' is not a text that may stand here"),
]
BROKEN = [
    ("", "Expecting value: line 1 column 1 (char 0)"),
    (b'{"format": 1, "notes": ["\xff"]}', "it is not UTF-8"),
    ('{"format": NaN}', "it holds NaN, which is no number"),
    ('{"format": 1e999}', "it holds inf, which is no finite number"),
    ('{"format": 1' + "0" * 5000 + "}", "it holds an integer of more than 64 bits"),
    ('{"format": 1, "format": 2}', "it holds the key 'format' twice"),
    ('{"format": ' + "[" * 100 + "]" * 100 + "}", "it is nested more than 32 deep"),
    ("[" * 100_000, "it is nested more than 32 deep"),
    (b" " * (17 << 20), "it has 17825792 bytes, which is above 16777216"),
]


@pytest.mark.parametrize(("keys", "value", "said"), SHAPES)
def test_a_manifest_of_the_wrong_shape(run, keys, value, said):
    put(run / "manifest.json", [int(key) if key.isdecimal() else key for key in keys.split(".")], value)
    message, advice = refusal(run)
    assert message.startswith(f"{MANIFEST}: {said}") and advice == DAMAGED


@pytest.mark.parametrize("key", ["format", "config", "settings", "versions", "layout", "processes", "conditions"])
def test_a_manifest_without_a_key(run, key):
    without("manifest.json", key)(run)
    assert refusal(run) == [f"{MANIFEST}: {key}: it is missing", DAMAGED]


@pytest.mark.parametrize(("content", "said"), BROKEN, ids=[said[:30] for _, said in BROKEN])
def test_a_manifest_that_is_no_json(run, content, said):
    written("manifest.json", content)(run)
    assert refusal(run) == [f"{MANIFEST} cannot be read: {said}", DAMAGED]


@pytest.mark.parametrize(
    ("damage", "said", "fix"),
    [
        (written("manifest.json", "[]"), f"{MANIFEST}: it is not a mapping", DAMAGED),
        (
            in_manifest("format", value=99),
            f"{MANIFEST} has format 99, this version reads format 1",
            f"Use the unnoise it was made with: {unnoise.__version__}",
        ),
        (
            in_manifest("versions", "unnoise-toy", value="0.2.0"),
            "{run} was made with unnoise-toy 0.2.0, which is newer than the installed unnoise-toy 0.1.0",
            'pip install "unnoise-toy==0.2.0"',
        ),
        (
            in_manifest("versions", "unnoise", value="7.0"),
            f"{{run}} was made with unnoise 7.0, which is newer than the installed unnoise {unnoise.__version__}",
            'pip install "unnoise==7.0"',
        ),
        (
            in_manifest("config", "denoiser", "name", value="os:system"),
            f"{MANIFEST}: no denoiser named 'os:system' for modality 'toy'.",
            "available: ladder, mlp, wide",
        ),
        (
            in_manifest("config", "denoiser", "_target_", value="os.system"),
            f"{MANIFEST}: denoiser 'mlp' has no option '_target_'.",
            "its options: width, activation",
        ),
        (
            in_manifest("processes", "parts", "x", "name", value="os.system"),
            f"{MANIFEST}: processes.parts.x.name: 'os.system' is not a registered or plain name",
            DAMAGED,
        ),
        (
            in_manifest("conditions", "items", "class", "kind", value="os.system"),
            f"{MANIFEST}: conditions.items.class.kind: 'os.system' is not a registered or plain name",
            DAMAGED,
        ),
        (
            in_manifest("processes", "parts", "x", "schedule", value={"name": "linear_beta", "steps": 10**9}),
            f"{MANIFEST}: schedule 'linear_beta': a table has 2 to 1,000,000 steps with betas in (0, 1], not "
            "LinearBeta(steps=1000000000, beta_first=0.0001, beta_last=0.02)",
            "correct its arguments",
        ),
        (
            in_manifest("config", "modality", value="tyo"),
            f"{MANIFEST}: no representation named 'plane' for modality 'tyo'.",
            "available: none",
        ),
        (
            in_manifest("config", "denoiser", "activation", value="gelu"),
            f"{MANIFEST}: its model cannot be built: KeyError: 'gelu'",
            "Restore it from a copy of the run, which ",
        ),
        (
            in_manifest("config", "denoiser", "width", value=10**9),
            "checkpoint {last}, of another model (they differ in denoiser), does not fit the model: "
            "denoiser.network.net.0.weight has shape (8, 7) where (1000000000, 7) is needed; ",
            "Use a checkpoint of this very run, with the manifest.json it was trained with.",
        ),
        (
            in_manifest("conditions", "items", "class", "names", value=["upper", "lower"]),
            "checkpoint {last} is of another model than manifest.json; they differ in conditions",
            "Put the manifest.json back that it was trained with, or name a run of its own.",
        ),
    ],
)
def test_a_manifest_of_something_else(run, damage, said, fix):
    damage(run)
    message, advice = refusal(run)
    assert message == said if not said.endswith("; ") else message.startswith(said)
    assert advice.startswith(fix)


def test_a_plugin_that_is_not_installed(run, monkeypatch):
    put(run / "manifest.json", ["versions", "unnoise-tropical"], "1.2.0")
    put(run / "manifest.json", ["config", "denoiser", "name"], "palm")
    said = [f"{MANIFEST}: no denoiser named 'palm' for modality 'toy'.", 'pip install "unnoise-tropical==1.2.0"']
    assert refusal(run) == said


def test_what_is_older_or_not_needed_is_no_obstacle(run):
    for dist, version in {"torch": "99.0", "unnoise": "0.0.9", "unnoise-data-of-mine": "3.0"}.items():
        put(run / "manifest.json", ["versions", dist], version)
    assert len(load(run, "cpu").sample(1, progress=False).items) == 1


def test_series():
    assert series("0.2.9") == series("0.2") < series("0.3.0rc1") < series("1.0") == series("1.9") < series("2") < (10,)


def test_a_checkpoint_of_another_run_whose_weights_have_the_same_shapes(run, runs):
    shutil.rmtree(checkpoint_of(run))
    shutil.copytree(checkpoint_of(runs / "b"), run / "checkpoints" / "step_00000004")
    assert refusal(run) == [
        "checkpoint {last} is of another model than manifest.json; they differ in processes, parametrizations",
        "Put the manifest.json back that it was trained with, or name a run of its own.",
    ]


def test_a_checkpoint_that_notes_no_model_is_read_as_before(run):
    before = load(run, "cpu").sample(2, progress=False).items
    without("state.json", "model")(run)
    assert np.array_equal(np.stack(load(run, "cpu").sample(2, progress=False).items), np.stack(before))


def rewritten(change, name="ema"):
    """A tensor file that somebody has changed and whose digest is right."""

    def damage(run):
        path = checkpoint_of(run) / f"{name}.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        note_digest(path)

    return damage


BIAS = "denoiser.network.net.0.bias"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (rewritten(lambda t: t.update({BIAS: t[BIAS].double()})), f"{BIAS} has type float64 where float32 is needed"),
        (rewritten(lambda t: t[BIAS].fill_(torch.nan)), f"{BIAS} holds numbers that are not finite"),
        (rewritten(lambda t: t[BIAS][0].fill_(torch.inf)), f"{BIAS} holds numbers that are not finite"),
        (rewritten(lambda t: t.update({BIAS: t[BIAS][:7]})), f"{BIAS} has shape (7,) where (8,) is needed"),
        (rewritten(lambda t: t.pop(BIAS)), f"{BIAS} is missing"),
        (rewritten(lambda t: t.update({"a\nb": t[BIAS].clone()})), r"'a\nb' is unknown"),
        (rewritten(lambda t: t.pop("representation.scale")), "representation.scale is missing"),
    ],
)
def test_tensors_that_do_not_fit(run, damage, said):
    damage(run)
    advice = "Use a checkpoint of this very run, with the manifest.json it was trained with."
    assert refusal(run) == [f"checkpoint {{last}} does not fit the model: {said}", advice]


def huge_header(run):
    """A header that claims to be longer than any memory."""
    path = checkpoint_of(run) / "ema.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{")
    note_digest(path)


def huge_tensor(run):
    path = checkpoint_of(run) / "ema.safetensors"
    header, body = split(path.read_bytes())
    header[BIAS] |= {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    path.write_bytes(join(header, body))
    note_digest(path)


def cut(run):
    path = checkpoint_of(run) / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def gone(run):
    (checkpoint_of(run) / "ema.safetensors").unlink()


def pipe(run):
    gone(run)
    os.mkfifo(checkpoint_of(run) / "ema.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, f"{EMA} cannot be read: its SHA-256 is not the one in state.json"),
        (pipe, f"{EMA} cannot be read: it is no regular file"),
        (gone, f"{EMA} cannot be read: No such file or directory"),
        (huge_header, f"{EMA} cannot be read: Error while deserializing header"),
        (huge_tensor, f"{EMA} cannot be read: Error while deserializing header"),
        (without("state.json", "sha256", "ema.safetensors"), f"{STATE}: sha256: there is no digest of ema.safetensors"),
        (without("state.json", "sha256"), f"{STATE}: sha256: it is missing"),
        (in_state("sha256", "../x.safetensors", value="0"), f"{STATE}: sha256, key: '../x.safetensors' is not a file"),
        (in_state("sha256", "ema.safetensors", value="0"), f"{STATE}: sha256.'ema.safetensors': '0' is not a text"),
        (in_state("step", value=2), f"{STATE}: step: it is of step 2, in the folder of step 4"),
        (written("state.json", "{"), f"{STATE} cannot be read: Expecting property name enclosed in double quotes"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint(run, damage, said):
    damage(run)
    message, advice = refusal(run)
    assert message.startswith(said) and advice == OTHER


def test_a_damaged_only_checkpoint(run):
    shutil.rmtree(run / "checkpoints" / "step_00000002")
    cut(run)
    assert refusal(run)[1] == "The run has no other checkpoint: restore it from a copy, or train anew."


def test_a_path_outside_of_the_run_is_not_looked_at(run, tmp_path):
    outside = tmp_path / "outside"
    os.mkfifo(outside)  # whoever opens it waits for ever
    for keys in (("config", "run"), ("config", "codec", "run"), ("config", "data", "root"), ("settings", "file")):
        put(run / "manifest.json", keys, str(outside))
    message, _ = refusal(run)
    assert message == "checkpoint {last} is of another model than manifest.json; they differ in representation"


class Deep(nn.Module):
    """As many layers as a manifest asks for."""

    self_conditioning = False

    def __init__(self, layout, context_dim, depth=1, read=False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(depth))
        self.rates = torch.linspace(0, 1, 3).tolist() if read else []  # needs numbers, which an outline has none of

    def forward(self, x, level, context, previous=None, residuals=None):
        return {"x": self.layers[0](x.parts["x"])}


class WithDeep(Registry):
    def load(self, kind, name, modality=None):
        return Deep if name == "mlp" else super().load(kind, name, modality)


def test_a_model_without_end_is_not_built(tmp_path):
    config, installed = {**CONFIG, "denoiser": {"name": "mlp", "depth": 2}}, WithDeep()
    folder = train(config, tmp_path / "run", installed).folder
    put(folder / "manifest.json", ["config", "denoiser", "depth"], 10**12)
    message, advice = refusal(folder, lambda: load(folder, "cpu", installed))
    assert message.startswith(f"{MANIFEST}: its model has more than 1,")
    assert advice == "Restore manifest.json from a copy of the run."
    config["denoiser"]["read"] = True
    other = train(config, tmp_path / "other", installed).folder
    assert len(load(other, "cpu", installed).sample(1, progress=False).items) == 1


CONFIGS = [
    ("extra: !!python/object/apply:os.system [ls]", "it holds the tag 'tag:yaml.org", True),
    ("extra: {a: &x [1], b: *x}", "it holds references", True),
    ("extra: " + "[" * 50 + "]" * 50, "it is nested more than 32 deep", True),
    ("extra: {a: .nan}", "it holds nan, which is no finite number", True),
    ("a: 1\na: 2", "while constructing a mapping", True),
    ("#" * (1 << 19), "it has 524288 bytes, which is above 262144", True),
    (
        "modality: toy\nextra: {home: '${oc.env:HOME}'}",
        "extra.home: '${oc.env:HOME}' is an interpolation, which a",
        False,
    ),
    ("modality: toy\ntrain: {bacth: 3}", "train.bacth: there is no such key. Did you mean 'batch'?", False),
    ("modality: toy\ntrain: {batch: 0}", "train.batch: 0 is not at least 1 and at most 16,777,216", False),
]


@pytest.mark.parametrize(("content", "said", "unread"), CONFIGS, ids=[said[:30] for _, said, _ in CONFIGS])
def test_a_damaged_config_is_not_resumed(run, cli, content, said, unread):
    written("config.yaml", content)(run)
    before = (run / "manifest.json").read_bytes()
    code, lines = cli("train run=run resume=true")
    assert code == 2 and len(lines) == 2 and lines[1] == f"         {DAMAGED}"
    assert lines[0].startswith(f"unnoise: run/config.yaml{' cannot be read' if unread else ''}: {said}")
    assert (run / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (in_state("seed", value=5), "{last}/state.json: seed: it is 5, that of manifest.json 0"),
        (without("state.json", "ema_updates"), "{last}/state.json: ema_updates: it is missing"),
        (without("state.json", "sha256", "optimizer.safetensors"), "{last}/state.json: sha256: there is no digest of"),
        (
            in_manifest("conditions", "items", "class", "names", value=["b", "a"]),
            "checkpoint {last} is of another model",
        ),
        (in_manifest("versions", "unnoise-toy", value="0.9"), "run was made with unnoise-toy 0.9, which is newer than"),
        (rewritten(lambda t: t.pop(BIAS)), "checkpoint {last} does not fit the model"),
    ],
)
def test_a_damaged_run_is_not_resumed_and_stays_as_it_is(run, cli, damage, said):
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix != ".lock"}
    code, lines = cli("train run=run resume=true train.steps=6")
    last = "run/checkpoints/step_00000004"
    assert code == 2 and len(lines) == 2 and lines[0].startswith(f"unnoise: {said.replace('{last}', last)}")
    assert all(path.read_bytes() == content for path, content in before.items())


MOMENT = f"{BIAS}//exp_avg"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop(MOMENT),
        lambda t: t[MOMENT].fill_(torch.nan),
        lambda t: t.update({MOMENT: t[MOMENT][:3].clone()}),
        lambda t: t.update({f"{BIAS}//momentum_buffer": t.pop(MOMENT)}),
    ],
)
def test_an_optimisers_state_that_does_not_fit(run, cli, change):
    rewritten(change, "optimizer")(run)
    code, lines = cli("train run=run resume=true train.steps=6")
    said = f"unnoise: the optimiser's state of '{BIAS}' is damaged or another optimiser's"
    assert (code, [line for line in lines if line.startswith("unnoise")]) == (2, [said])


@pytest.mark.parametrize("verb", ["sample", "eval", "train resume=true"])
def test_a_damaged_run_on_the_command_line(run, tmp_path, verb):
    put(run / "manifest.json", ["config", "denoiser", "name"], "os:system")
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("name: mlp", "name: os:system"))
    environ = {**os.environ, "PYTHONPATH": str(TOY), "UNNOISE_PLUGINS": "unnoise-toy"}
    command = [sys.executable, "-m", "unnoise", *verb.split(), "run=run"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 2 and "no denoiser named 'os:system'" in lines[0]
    assert lines[1] == "         available: ladder, mlp, wide"


MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "OmegaConf.load", "instantiate"}
IMPORTS = {"__init__.py", "cli/main.py", "plugins/specs.py"}
"""Where a module is imported by name: core's own modules, and what installed plugins refer to."""


def test_the_engine_has_no_way_to_execute_what_a_file_says():
    source = Path(unnoise.__file__).parent
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source).as_posix()
        tree = ast.parse(path.read_text())
        made = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls = {ast.unparse(node.func) for node in made}
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {module.split(".")[0] for module in imported} & MODULES, name
        assert not {call.removeprefix("hydra.utils.") for call in calls} & CALLS, name
        assert "import_module" not in calls or name in IMPORTS, name
        plain = [{ast.unparse(k) for k in node.keywords} for node in made if ast.unparse(node.func) == "np.load"]
        assert all("allow_pickle=False" in options for options in plain), name


def test_what_training_writes_is_read(run):
    manifest = Run(run).manifest
    manifest.save(run / "again.json")
    assert Manifest.read(run / "again.json") == manifest
    assert json.loads((checkpoint_of(run) / "state.json").read_text())["model"] == manifest.fingerprint()
