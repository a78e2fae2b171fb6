"""A control of the toy plugin's points: it follows the quadrant that it is told, and its base stays as it is."""

import hashlib
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.cli.main import main
from unnoise.conditions import Conditions, MapCondition
from unnoise.contracts import Network, Place
from unnoise.control import Acting, Control, Controlled
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError
from unnoise.guidance import CFG, Interval
from unnoise.layout import Layout
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.processes import Product
from unnoise.runs import Run, evaluate, load, train
from unnoise.runs.controls import acting, load_control
from unnoise.sampling import plan, sample

QUICK = {"steps": 12, "batch": 16, "log_every": 4, "preview_every": 0, "warmup": 0, "device": "cpu"}


def base_config(**changes):
    config = {
        "modality": "toy",
        "data": {"name": "ring"},
        "representation": {"name": "plane"},
        "denoiser": {"name": "ladder"},
        "train": QUICK,
        "sample": {"steps": 4, "n": 4},
    }
    return {**config, **changes}


def control_config(base, **changes):
    control = {"base": str(base), "map": "quadrant", **changes.pop("control", {})}
    return base_config(stage="control", control=control, **changes)


@pytest.fixture
def runs(toy, tmp_path):
    """A model and a control of it."""
    base = train(base_config(), tmp_path / "base").folder
    control = train(control_config(base, control={"judge_every": 8, "judged": 6}), tmp_path / "control").folder
    return base, control


def digests(folder):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def states(model, **options):
    return model.sample(5, seed=3, progress=False, **options).state.parts["x"]


def test_a_control_lies_apart_from_its_base_and_says_whose_it_is(toy, tmp_path):
    base = train(base_config(), tmp_path / "base").folder
    before = digests(base)
    control = train(control_config(base, control={"judge_every": 8, "judged": 6}), tmp_path / "control").folder
    assert digests(base) == before
    manifest = Run.open(control).manifest
    checkpoint = Run.open(base).checkpoint()
    assert manifest.stage == "control" and manifest.control["fingerprint"] == Run.open(base).manifest.fingerprint()
    assert manifest.control["sha256"] == hashlib.sha256((checkpoint.path / "ema.safetensors").read_bytes()).hexdigest()
    saved = Run.open(control).checkpoint().tensors("model")
    assert saved and all(name.startswith("control.") for name in saved)
    # Half of three blocks, rounded up, and nothing of what comes after them.
    assert {name.split(".")[3] for name in saved if ".blocks." in name} == {"0", "1"}
    assert not any(".network.out." in name for name in saved)
    lines = [json.loads(line) for line in (control / "metrics.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["agreement/quadrant"] for line in lines if "agreement/quadrant" in line}
    assert list(judged) == [8] and 0 <= judged[8] <= 1


def test_what_does_not_act_changes_nothing_bit_for_bit(runs):
    base, control = runs
    model = load(base, "cpu")
    quadrant = [[0, 1], [0, 0]]
    plain = states(model)
    for off in ({"strength": 0}, {"interval": [100, None]}, {"interval": [None, -100]}):
        assert torch.equal(states(model, control={"run": control, "map": quadrant, **off}), plain)
    assert not torch.equal(states(model, control={"run": control, "map": quadrant}), plain)


def test_a_new_control_adds_nothing(toy, tmp_path):
    base = train(base_config(), tmp_path / "base").folder
    new = train(control_config(base, train={**QUICK, "steps": 0}), tmp_path / "new").folder
    model = load(base, "cpu")
    assert torch.equal(states(model, control={"run": new, "map": np.ones((2, 2))}), states(model))
    # and its features are those of the base's own blocks
    loaded = load_control(new, model).control.network.state_dict()
    own = model.denoiser.network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in loaded.items() if not name.startswith("maps."))


def test_a_sample_depends_on_its_own_map_and_not_on_the_batch(runs):
    base, control = runs
    model = load(base, "cpu")
    maps = np.random.default_rng(0).random((5, 2, 2)).astype(np.float32)[..., None]
    whole = states(model, control={"run": control, "map": maps})
    torch.testing.assert_close(states(model, control={"run": control, "map": maps}, batch=2), whole)
    swapped = maps[[0, 1, 3, 2, 4]]
    changed = (states(model, control={"run": control, "map": swapped}) != whole).any(1)
    assert changed.tolist() == [False, False, True, True, False]


def test_resuming_a_control_is_exact(toy, tmp_path):
    base = train(base_config(), tmp_path / "base").folder
    steady = {**QUICK, "decay": 0.0}
    whole = train(control_config(base, train=steady), tmp_path / "whole").folder
    train(control_config(base, train={**steady, "steps": 6}), tmp_path / "parts")
    parts = train(control_config(base, train=steady, resume=True), tmp_path / "parts").folder
    for name in ("model", "ema"):
        one, two = (Run.open(folder).checkpoint().tensors(name) for folder in (whole, parts))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def trained(toy, tmp_path):
    """A model that makes points of both classes anywhere on the ring, and a control of it, both trained well."""
    options = {**QUICK, "steps": 300, "batch": 64, "lr": 1e-2, "log_every": 300, "ema": {"decay": 0.98}}
    told = {"use": ["class"], "dim": 8, "dropout": 0.4}
    base = train(base_config(train=options, conditions=told), tmp_path / "base").folder
    control = control_config(base, train=options, conditions={"dropout": 0.4}, control={"judge_every": 300})
    return base, train(control, tmp_path / "control").folder


def test_samples_follow_their_maps_with_and_without_a_class_and_in_edits(trained):
    base, control = trained
    model = load(base, "cpu")
    lines = [json.loads(line) for line in (control / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["agreement/quadrant"] > 0.8  # half of it is known from the class
    _, scores = evaluate(model, 200, metrics=["agreement"], control={"run": control}, progress=False)
    (score,) = scores
    assert (score.name, score.floor, score.better) == ("agreement_quadrant", 1.0, "higher")
    assert score.value > 0.8 and score.value > score.ceiling + 0.2
    right, left = ({"run": control, "map": [[0, 0], row]} for row in ([0, 1], [1, 0]))  # both above

    def to_the_right(samples):
        return np.stack(samples.items)[:, 0] > 0

    def follows(make):
        """How much more often samples of the same seeds lie to the right if they are asked to: 0 if nothing follows."""
        return np.mean(to_the_right(make(control=right))) - np.mean(to_the_right(make(control=left)))

    plain = partial(model.sample, 200, progress=False)
    guided = partial(plain, condition="upper", negative="lower", guidance_scale=2)
    kept = [np.array([-0.5, 1.9], np.float32)] * 200
    edited = partial(model.edit, "infill", kept, mask="x", progress=False)
    found = {name: follows(make) for name, make in {"plain": plain, "guided": guided, "edited": edited}.items()}
    assert min(found.values()) > 0.3, found
    assert np.allclose(np.stack(edited(control=right).items)[:, 1], 1.9)


class Told(Network):
    """Says the mean of its context, and what is added to its one feature."""

    def __init__(self, layout, context_dim):
        super().__init__()
        self.silent = nn.Linear(1, 1)

    def forward(self, x, level, context, previous=None, residuals=None):
        said = context.vector.mean(1, keepdim=True).expand(-1, 2)
        return {"x": said if residuals is None else said + residuals[0]}

    def features(self, x, level, context, previous=None):
        return [context.maps[-1][:, 0, 0, :1].expand(-1, 2)]

    def cut(self, blocks=None):
        return [Place(2, -1)]


def closed_form():
    """A denoiser and a control whose samples are known: the estimate is that of the last row."""
    torch.manual_seed(0)
    layout = Layout.tensor(2)
    product = Product.from_config(layout, {"parts": {"x": {"name": "gaussian", "schedule": {"name": "cosine"}}}})
    conditions = Conditions([MapCondition("a", 4, points=(2, 2), channels=1, mean=0.0, std=1.0)], 4)
    parametrization = Parametrization("x0", product.processes["x"].schedule)
    denoiser = Denoiser(Told(layout, 4), conditions, product, {"x": parametrization})
    condition = MapCondition("m", 4, points=(2, 2), channels=1, mean=0.0, std=1.0)
    control = Control(Told(layout, 4), condition)
    nn.init.eye_(control.outs[0].weight)
    return denoiser.requires_grad_(False), control.requires_grad_(False), conditions


def test_strengths_add_up_and_guidance_is_about_conditions_alone():
    denoiser, control, conditions = closed_form()
    maps = torch.tensor([0.5, -2.0, 3.0]).reshape(3, 1, 1, 1).expand(3, 2, 2, 1)
    noise, chosen = Noise.of(0, 3), plan("ddim", denoiser.product, 3)
    x_T = denoiser.product.prior(noise, {})
    given, against = ({"a": torch.full((3, 2, 2, 1), v)} for v in (1.0, math.nan))
    said, null = (float(conditions(raw, 3).vector[0].mean()) for raw in (given, against))
    controlled = Controlled(denoiser, [Acting(control, maps, 0.5), Acting(control, 2 * maps, -0.75)])
    found = sample(controlled, x_T, chosen, noise.seeds, given, CFG(3.0)).parts["x"]
    wanted = null + 3 * (said - null) + (0.5 - 1.5) * maps[:, 0, 0]
    torch.testing.assert_close(found, wanted.expand(3, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("interval", [(-2.0, 1.0), (None, 0.0), (0.0, None), (None, None)])
def test_an_interval_is_a_guidances(interval):
    denoiser, control, _ = closed_form()
    maps, chosen = torch.ones(1, 2, 2, 1), plan("ddim", denoiser.product, 12)
    low, high = (-math.inf if interval[0] is None else interval[0]), (math.inf if interval[1] is None else interval[1])
    rows, controlled = [], Controlled(denoiser, [Acting(control, maps, 1.0, low, high)])
    noise = Noise.of(0, 1)
    x_T = denoiser.product.prior(noise, {})
    for row in chosen.rows:
        times = {"x": row.t}
        moved = not torch.equal(controlled.predict(x_T, times)[0].x0["x"], denoiser.predict(x_T, times)[0].x0["x"])
        level = float(denoiser.product.log_snr(times)["x"])
        guided = len(Interval(CFG(2.0), *interval).at(level, level).branches({"a": 1})) == 2
        assert moved == guided
        rows.append(moved)
    assert any(rows) and (all(rows) == (interval == (None, None)))


def test_several_controls_reach_as_far_as_each_does(runs):
    base, control = runs
    model = load(base, "cpu")
    short = load_control(control, model).control
    one = torch.rand(5, 2, 2, 1)
    twice = states(model, control={"a": {"run": control, "map": one}, "b": {"run": control, "map": one}})
    doubled = states(model, control={"run": control, "map": one, "strength": 2})
    torch.testing.assert_close(twice, doubled)
    assert len(short.places) == 2


def test_the_record_says_which_controls_there_were(runs):
    base, control = runs
    record = (
        load(base, "cpu")
        .sample(3, control={"run": control, "map": np.eye(2), "strength": 0.5, "interval": [-3, None]}, progress=False)
        .record
    )
    (said,) = record["control"]
    assert (said["map"], said["strength"], said["interval"], said["step"]) == ("quadrant", 0.5, [-3, None], 12)
    assert said["maps"] == {"map": hashlib.sha256(np.eye(2, dtype=np.float32).tobytes()).hexdigest()[:16]}
    json.dumps(record)


def refused(run):
    with pytest.raises(UserError) as error:
        run()
    return f"{error.value.message} | {error.value.fix}"


def test_what_cannot_be_controlled_is_said(runs, tmp_path):
    base, control = runs
    model, one = load(base, "cpu"), np.ones((2, 2))

    def sampled(**asked):
        return refused(lambda: acting(model, asked, 2))

    assert "size 3 x 3, the model's has 2 x 2 points" in sampled(run=control, map=np.ones((3, 3)))
    assert "Bring it to 2 x 2 first" in sampled(run=control, map=np.ones((2, 2, 2)))
    assert "control.map=<quadrant> and control.of=<item" in sampled(run=control)
    assert "control.run=<run of a control>" in sampled(map=one)
    assert "Did you mean 'strength'" in sampled(run=control, map=one, strenght=1)
    assert "control.strength=nan" in sampled(run=control, map=one, strength=math.nan)
    assert "control.strength=much" in sampled(run=control, map=one, strength="much")
    assert "holds no level" in sampled(run=control, map=one, interval=[3, 1])
    assert "two log-SNRs" in sampled(run=control, map=one, interval=3)
    assert f"{base} is the run of a model, not of a control" in sampled(run=base, map=one)
    assert "quadrant=nowhere.npy does not exist" in sampled(run=control, map="nowhere.npy")
    assert "write control.run=" in refused(lambda: acting(model, str(control), 2))
    assert f"run={base} control.run={control}" in refused(lambda: load(control))


def test_a_control_of_another_base_is_refused(runs, tmp_path):
    base, control = runs
    wide = train(base_config(denoiser={"name": "ladder", "width": 16}), tmp_path / "wide").folder
    told = refused(lambda: load_control(control, load(wide, "cpu")))
    assert "trained for another base: denoiser" in told and f"run={base}" in told
    seeded = train(base_config(seed=1), tmp_path / "seeded").folder
    told = refused(lambda: load_control(control, load(seeded, "cpu")))
    assert "another base" in told or "other weights" in told
    longer = train({**base_config(), "train": {**QUICK, "steps": 20}, "resume": True}, base).folder
    told = refused(lambda: load_control(control, load(longer, "cpu")))
    assert "other weights than those of step 20" in told and f"step 12 of {base}" in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control": {"map": ""}}, "name it: control.map=..."),
        ({"control": {"map": "quadrnt"}}, "Did you mean 'quadrant'?"),
        ({"control": {"map": "class"}}, "follows a map or a curve, and 'class' is a class"),
        ({"control": {"blocks": 9}}, "the base has 3 blocks"),
        ({"control": {"judge_every": 3}}, "no multiple of train.log_every=4"),
        ({"control": {"base": "nowhere"}}, "nowhere is not a run folder"),
        ({"conditions": {"maps": {"quadrant": {"name": "quadrant", "hihg": 2}}}}, "no option 'hihg'"),
        ({"conditions": {"maps": {"quadrant": "quadrant"}}}, "write conditions.maps.quadrant.name"),
    ],
)
def test_a_control_that_cannot_be_trained_is_refused_before_there_is_a_folder(toy, tmp_path, changes, words):
    base = train(base_config(), tmp_path / "base").folder
    assert words in refused(lambda: train(control_config(base, **changes), tmp_path / "control"))
    assert not (tmp_path / "control").exists()


def test_a_network_that_takes_no_control_is_named(toy, tmp_path):
    base = train(base_config(denoiser={"name": "mlp"}), tmp_path / "base").folder
    told = refused(lambda: train(control_config(base), tmp_path / "control"))
    assert "'quadrant' is a map, which denoiser 'mlp' does not take" in told
    with pytest.raises(UserError, match="Told takes no control"):
        Network.cut(closed_form()[0].network)


def test_a_map_has_options_that_the_run_remembers(toy, tmp_path):
    base = train(base_config(), tmp_path / "base").folder
    maps = {"quadrant": {"name": "quadrant", "high": 3.0}}
    control = train(control_config(base, conditions={"maps": maps}), tmp_path / "control").folder
    model = load(base, "cpu")
    made, _ = acting(model, {"run": control, "of": [np.array([1.0, -1.0], np.float32)]}, 2)
    assert made[0].raw[:, :, :, 0].tolist() == [[[0.0, 3.0], [0.0, 0.0]]] * 2


def test_the_command_line(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = [f"train.{key}={value}" for key, value in QUICK.items()]
    assert main(["train", "modality=toy", "denoiser.name=ladder", "run=base", "sample.steps=3", *quick]) == 0
    assert main(["train", "control.base=base", "control.map=quadrant", "run=control", "train.steps=8"]) == 0
    assert "next: unnoise sample run=base control.run=control control.map=..." in capsys.readouterr().out
    np.savetxt("map.txt", [[0, 1], [0, 0]])
    np.savetxt("points.txt", [[0.3, -2.0]])
    follow = ["sample", "run=base", "n=3", "control.run=control"]
    assert main([*follow, "control.map=map.txt", "out=drawn"]) == 0
    assert main([*follow, "control.of=points.txt", "out=made"]) == 0  # a point in that quadrant
    assert (tmp_path / "drawn" / "points.txt").read_bytes() == (tmp_path / "made" / "points.txt").read_bytes()
    assert main([*follow, "control.map=map.txt", "control.strength=0", "out=off"]) == 0
    assert main(["sample", "run=base", "n=3", "out=plain"]) == 0
    assert (tmp_path / "off" / "points.txt").read_bytes() == (tmp_path / "plain" / "points.txt").read_bytes()
    assert main(["eval", "run=base", "n=8", "control.run=control", "metrics=[agreement]", "out=eval"]) == 0
    scores = json.loads((tmp_path / "eval" / "scores.json").read_text())["scores"]
    assert [score["name"] for score in scores] == ["agreement_quadrant"] and scores[0]["floor"] == 1
    assert main(["train", "run=control", "resume=true", "train.steps=10"]) == 0
    capsys.readouterr()
    assert main(["train", "control.base=base", "control.map=quadrant", "run=other", "denoiser=wide"]) == 2
    assert "a control of this base keeps its denoiser" in capsys.readouterr().err
    assert main(["sample", "run=control", "n=2"]) == 2
    assert "run=base control.run=control control.map=..." in capsys.readouterr().err
