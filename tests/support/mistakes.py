"""Mistakes that authors of plugins make: changes of tests/third_party/toy and flock, and what is said of each."""

from functools import partial

import numpy as np
import torch

from unnoise.contracts import Kept, Labels, Place
from unnoise.sampling import plan
from unnoise.schedules import cosine
from unnoise.state import State


def of_state(self, items, scale):
    return State(self.layout, {"x": torch.from_numpy(np.stack(list(items))) * scale})


def lossy_decode(self, state):
    return list((1.1 * state.parts["x"] * self.scale).numpy())


def decode_of_valid_ones(self, state):
    return list((state.parts["x"] * self.scale).numpy())[:-1]


def encode_with_gaps(self, items):
    return of_state(self, items, torch.nan)


def encode_without_statistics(self, items):
    return of_state(self, items, 100.0)


def encode_with_jitter(self, items):
    state = of_state(self, items, 1 / self.scale)
    return state.replace({"x": state.parts["x"] + 0.01 * torch.randn_like(state.parts["x"])})


def augment_by_numpy(self, state, noise):
    return state.replace({"x": state.parts["x"] * (1 + 0.1 * float(np.random.standard_normal()))})


def fit_to_an_attribute(self, items):
    self.own = float(np.std(np.stack(list(items))))


def encode_by_an_attribute(self, items):
    return of_state(self, items, 1 / getattr(self, "own", 1.0))


def decode_by_an_attribute(self, state):
    return list((state.parts["x"] * getattr(self, "own", 1.0)).numpy())


def scale_in_no_checkpoint(self):
    torch.nn.Module.__init__(self)
    self.register_buffer("scale", torch.ones(()), persistent=False)


def kept_in_another_scale(self, items, mask):
    return Kept(of_state(self, items, 1.0), {"x": torch.tensor([[False, True]])})


def kept_and_splice_forgotten(self, items, mask):
    return Kept(self.encode(items), {"x": torch.tensor([[False, True]])}, lambda finished: finished[::-1])


def save_nothing(self, items, folder, settings):
    return []


def save_elsewhere(self, items, folder, settings):
    return [folder / "points.txt"]


def save_a_date(self, items, folder, settings):
    path = folder / "points.txt"
    path.write_text(str(np.random.default_rng().random()))
    return [path]


def preview_as_text(self, items, path, labels=()):
    path.write_text("not a picture")


def any_ring(self, split, seed=0, n=200, radius=2.0):
    self.points = np.random.default_rng().normal(size=(n, 2)).astype(np.float32)


def one_ring(self, split, seed=0, n=200, radius=2.0):
    self.points = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)


def columns_at_random(self):
    return {"class": Labels(np.random.default_rng().integers(0, 2, len(self.points)), ("lower", "upper"))}


def told(x, level, context):
    return torch.cat([x.parts["x"], level.c_noise["x"][:, None], context.vector], 1)


def forward_of_a_random_network(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.randn_like(x.parts["x"])}


def forward_over_the_batch(self, x, level, context, previous=None, residuals=None):
    return {"x": x.parts["x"] - x.parts["x"].mean(0)}


def forward_without_context(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context) * torch.tensor([1.0] * 3 + [0.0] * context.vector.shape[1]))}


def forward_of_a_constant(self, x, level, context, previous=None, residuals=None):
    return {"x": torch.zeros_like(x.parts["x"]) + 0 * self.net[0].weight.sum()}


def forward_that_always_drops(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(torch.nn.functional.dropout(told(x, level, context), 0.2))}


def forward_of_one_number(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context))[:, :1]}


def forward_of_a_tensor(self, x, level, context, previous=None, residuals=None):
    return self.net(told(x, level, context))


def forward_by_division(self, x, level, context, previous=None, residuals=None):
    return {"x": self.net(told(x, level, context)) / (level.t["x"] < 0.9)[:, None]}


def forward_from_a_table(self, x, level, context, previous=None, residuals=None):
    steps = torch.from_numpy(plan("ddim", cosine(), 4).t)
    assert (steps - level.t["x"][0]).abs().min() < 1e-3, f"there is no step {float(level.t['x'][0]):.2f}"
    return {"x": self.net(told(x, level, context))}


def forward_that_remembers(self, x, level, context, previous=None, residuals=None):
    self.calls = getattr(self, "calls", 0) + 1
    return {"x": self.net(told(x, level, context)) * (1 + 0.1 * self.calls)}


def forward_by_random_features(self, x, level, context, previous=None, residuals=None):
    if not hasattr(self, "frequencies"):
        self.frequencies = torch.randn(2)
    return {"x": self.net(told(x, level, context)) + torch.sin(x.parts["x"] * self.frequencies)}


def features_of_the_middle(self, x, level, context, previous=None, residuals=()):
    return [self.net[:2](told(x, level, context))]


def cut_of_the_middle(self, blocks=None):
    return [Place(self.net[0].out_features, -1)]


def cut_of_two(self, blocks=None):
    return [Place(self.net[0].out_features, -1)] * 2


def pool_over_padding(self, h, mask):
    return h.mean(1, keepdim=True)


def pool_by_place(self, h, mask):
    weight = mask * torch.arange(1, h.shape[1] + 1)[None, :, None]
    return (h * weight).sum(1, keepdim=True) / mask.sum(1, keepdim=True)


def mask_backwards(self, items):
    state = State.zeros(self.layout, len(items), {"birds": torch.tensor([len(colours) for _, colours in items])})
    return State(state.layout, state.parts, {"birds": state.masks["birds"].flip(1)})


def padding_of_its_own(self, items):
    sizes = torch.tensor([len(colours) for _, colours in items])
    state = State.zeros(self.layout, len(items), {"birds": sizes})
    state.parts["colours"][~state.masks["birds"]] = 2
    return state


def classes_from_one(self, items):
    sizes = torch.tensor([len(colours) for _, colours in items])
    state = State.zeros(self.layout, len(items), {"birds": sizes})
    return state.map(lambda part, x: x if part.kind == "gaussian" else x + 3 * state.masks["birds"])


def change(owner, **methods):
    """A mistake in the methods of a class of the plugin's module ``parts``."""

    def apply(parts, monkeypatch):
        for name, method in methods.items():
            monkeypatch.setattr(getattr(parts, owner), name, method)

    return apply


toy_network = partial(change, "MLP")
MISTAKES = [
    ("data_repeats", "toy", change("Ring", __init__=any_ring), "nobody seeded"),
    ("data_repeats", "toy", change("Ring", __init__=one_ring), "split is not used"),
    ("data_repeats", "toy", change("Ring", columns=columns_at_random), "another column 'class'"),
    ("layout_honoured", "toy", change("Plane", encode=encode_with_gaps), "not finite floats"),
    ("layout_honoured", "flock", change("Birds", encode=mask_backwards), "padding come before real"),
    ("layout_honoured", "flock", change("Birds", encode=padding_of_its_own), "padding holds other values"),
    ("layout_honoured", "flock", change("Birds", encode=classes_from_one), "outside 0..2"),
    ("statistics_measured", "toy", change("Plane", encode=encode_without_statistics), "statistics are forgotten"),
    (
        "statistics_stored",
        "toy",
        change("Plane", fit=fit_to_an_attribute, encode=encode_by_an_attribute, decode=decode_by_an_attribute),
        "what fit() measured is a plain attribute",
    ),
    ("statistics_stored", "toy", change("Plane", __init__=scale_in_no_checkpoint), "encodes differently"),
    ("round_trip", "toy", change("Plane", decode=lossy_decode), "decode() does not undo what encode() did"),
    ("decodes_whatever_comes", "toy", change("Plane", decode=decode_of_valid_ones), "4 items of 5"),
    ("files_and_preview", "toy", change("Plane", save=save_nothing), "wrote no file"),
    ("files_and_preview", "toy", change("Plane", save=save_elsewhere), "points.txt, not there"),
    ("files_and_preview", "toy", change("Plane", save=save_a_date), "points.txt differs"),
    ("files_and_preview", "toy", change("Plane", preview=preview_as_text), "no PNG"),
    ("outputs_fit", "toy", toy_network(forward=forward_of_one_number), "shape (12, 1) in place of (12, 2)"),
    ("outputs_fit", "toy", toy_network(forward=forward_of_a_tensor), "it gave Tensor"),
    ("padding_changes_nothing", "flock", change("Sums", pool=pool_over_padding), "looks at padding"),
    ("order_changes_nothing", "flock", change("Sums", pool=pool_by_place), "knows the place of an element"),
    ("conditions_matter", "toy", toy_network(forward=forward_without_context), "does not use context"),
    ("randomness_is_addressed", "toy", toy_network(forward=forward_of_a_random_network), "torch's global generator"),
    ("randomness_is_addressed", "toy", change("Plane", augment=augment_by_numpy), "numpy's global generator"),
    ("randomness_is_addressed", "toy", change("Plane", encode=encode_with_jitter), "encode() differs"),
    ("seeds_hold", "toy", toy_network(forward=forward_over_the_batch), "items of a batch see each other"),
    ("seeds_hold", "toy", toy_network(forward=forward_of_a_random_network), "hidden random numbers"),
    ("legal_after_every_row", "toy", toy_network(forward=forward_by_division), "'x' before row 1: not finite"),
    ("every_sampler_runs", "toy", toy_network(forward=forward_from_a_table), "levels that only these samplers ask for"),
    ("every_sampler_runs", "toy", toy_network(forward=forward_by_division), "is not finite"),
    ("guidance_off_is_off", "toy", toy_network(forward=forward_that_remembers), "keeps nothing from call to call"),
    ("negative_cancels", "toy", toy_network(forward=forward_that_always_drops), "dropout in eval mode"),
    ("infill_keeps", "toy", change("Plane", kept=kept_in_another_scale), "differs from encode(items)"),
    ("infill_keeps", "toy", change("Plane", kept=kept_and_splice_forgotten), "Kept.splice"),
    (
        "takes_control",
        "toy",
        toy_network(features=features_of_the_middle, cut=cut_of_the_middle),
        "forward() or features() does not use residuals",
    ),
    ("takes_control", "toy", toy_network(features=features_of_the_middle, cut=cut_of_two), "cut() names 2 places"),
    ("overfits", "toy", toy_network(forward=forward_of_a_constant), "mean loss only went"),
    ("save_and_load", "toy", toy_network(forward=forward_by_random_features), "two loads of one run"),
    ("save_and_load", "toy", change("Plane", __init__=scale_in_no_checkpoint), "persistent=False"),
    ("resume_equals_uninterrupted", "toy", toy_network(forward=forward_that_remembers), "a counter"),
    ("resume_equals_uninterrupted", "toy", change("Plane", augment=augment_by_numpy), "numpy's or Python's global"),
]
"""Check, plugin, the mistake, and what is said of it."""
AS_NOTHING = "return {}\n\n    def restore(self, settings):\n        pass"
AS_CODE = (
    """return {"make": "lambda x: x"}\n\n    def restore(self, settings):\n        self.make = eval(settings["make"])"""
)
IN_FILES = [
    ("outputs_fit", "unnoise_toy/parts.py", 'inputs = [x.parts["x"]', 'inputs = [x.parts["y"]',
     "the plugin's own code raised it"),
    ("loads_without_code", "unnoise_toy/parts.py", AS_NOTHING, AS_CODE, "builtins.eval"),
    ("entry_point_is_light", "unnoise_toy/plugin.py", "from unnoise", "import numpy\nimport torch\nfrom unnoise",
     "numpy, torch"),
    ("entry_point_is_light", "unnoise_toy/conf/__init__.py", '"""Configs', 'import yaml\n"""Configs', "yaml"),
    ("configs_in_the_wheel", "pyproject.toml", '["**/*.yaml"]', "[]", "pyproject.toml does not say that yaml files"),
    ("configs_in_the_wheel", "pyproject.toml", 'toy = "unnoise_toy.plugin"', "", "no entry point unnoise_toy.plugin"),
    ("guidance_off_is_off", "unnoise_toy/plugin.py", "@hookimpl\ndef unnoise_doctor", (
        "@hookimpl\ndef unnoise_guidances():\n    return [Spec('louder', 'unnoise_toy.guide:Louder')]\n\n\n"
        "@hookimpl\ndef unnoise_doctor"
    ), "its scale 1 is not off"),
    ("every_sampler_runs", "unnoise_toy/plugin.py", "@hookimpl\ndef unnoise_doctor", (
        "@hookimpl\ndef unnoise_samplers():\n    return [Spec('steep', 'unnoise_toy.guide:steep')]\n\n\n"
        "@hookimpl\ndef unnoise_doctor"
    ), "steep: "),
]  # fmt: skip
"""Check, file of the toy, a text in it, the mistake in its place, and what is said of it."""
GUIDE = """\
from dataclasses import dataclass

from unnoise.guidance import CFG
from unnoise.sampling.rows import Table


@dataclass(frozen=True)
class Louder(CFG):
    def branches(self, condition):
        return {"cond": condition, "null": {}}

    def combine(self, branches, moment):
        return {name: 1.5 * value for name, value in branches["cond"].items()}


def steep(schedule, grid):
    table = Table(schedule, grid)
    for here, there in table.steps():
        table.advance(there, order=1, x=(here.sigma / there.sigma) * table.predict())
    return tuple(table.rows)
"""
