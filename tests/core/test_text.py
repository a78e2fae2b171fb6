"""The condition that is words: what may be written, what padding must not change, what weights do, whole runs."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import unnoise
from unnoise.cli.overrides import parsed
from unnoise.conditions import ClassCondition, Conditions, TextCondition
from unnoise.contracts import Labels, Network, Texts
from unnoise.denoiser import Denoiser
from unnoise.errors import Caution, UserError
from unnoise.folders import columns_of
from unnoise.guidance import CFG
from unnoise.layout import Layout, Part
from unnoise.nn import LevelEmbedding, TransformerBlock
from unnoise.noise import Noise
from unnoise.parametrization import Parametrization
from unnoise.plugins import registry
from unnoise.processes import Product
from unnoise.runs import evaluate, train
from unnoise.sampling import plan, sample

CAPTIONS = np.array(["a red car, fast, shiny", "two cats", "", "flag: Congo (Kinshasa)", "a red cat, happy"])
COLUMN = Texts(CAPTIONS)


def made(dim=16, tokens=True, **options):
    torch.manual_seed(0)
    often = Texts(np.tile(CAPTIONS, 3))  # so that every word is a token
    return Conditions.from_columns({"text": often}, ["text"], dim, tokens, {"text": options}).eval()


def longer(condition, by=9):
    """The same condition with room for longer texts."""
    settings = {**condition.settings(), "length": condition.length + by}
    other = TextCondition(condition.name, condition.dim, condition.tokens, **settings)
    other.load_state_dict(condition.state_dict())
    return other.eval()


def test_words_come_back_and_the_empty_text_is_the_null():
    conditions = made()
    own = conditions["text"]
    raw = own.raw(COLUMN)
    assert own.describe(raw) == [
        "a red car, fast, shiny",
        "two cats",
        None,
        "flag: congo (kinshasa)",
        "a red cat, happy",
    ]
    assert own.values(raw).tolist() == [told or "" for told in own.describe(raw)]
    assert own.is_absent(raw).tolist() == [False, False, True, False, False]
    for nothing in ("", "  ", "(red:0)", None):
        assert torch.equal(own.parse(nothing, 1), own.absent(1))
    context = conditions({"text": raw}, 5)
    assert torch.equal(context.vector[2], own.null)
    assert context.token_mask[2].tolist() == [True] + [False] * (context.tokens.shape[1] - 1)
    assert torch.equal(context.tokens[2, 0], own.token_of(own.null))
    nothing = conditions(None, 2)
    assert torch.equal(nothing.vector, own.null.expand(2, 16)) and nothing.token_mask.tolist() == [[True]] * 2


@pytest.mark.parametrize("prompt", ["a (red:1.3) unseené car", "(two cats:0.25)", "x (y) z", r"\(a:2\) (b\(c\):2)", 7])
def test_describe_and_parse_are_inverse_with_weights(prompt):
    own = made()["text"]
    raw = own.parse(prompt, 2)
    (told,) = set(own.describe(raw))
    assert torch.equal(own.parse(told, 2), raw)
    assert "(" not in "".join(own.values(own.parse("a (red:1.3) car", 1)))


def test_a_list_is_a_prompt_each_and_a_bare_value_needs_no_name():
    conditions = made()
    raw = conditions.parse(["two cats", "a (red:2) car", None], 4)["text"]
    assert conditions["text"].describe(raw) == ["two cats", "a (red:2) car", None, "two cats"]


@pytest.mark.parametrize("dim", [6, 16, 64])
def test_how_far_a_text_is_padded_and_what_stands_beside_it_change_nothing(dim):
    own = made(dim)["text"]
    other, raw = longer(own), own.raw(COLUMN)
    wide = torch.cat([raw[:, : own.length], -torch.ones(5, 9), raw[:, own.length :], torch.ones(5, 9)], 1)
    a, b, alone = own(raw), other(wide), own(raw[1:2])
    torch.testing.assert_close(a.vector, b.vector)
    torch.testing.assert_close(alone.vector, a.vector[1:2])
    count = int(a.token_mask[1].sum())
    assert count == alone.tokens.shape[1] < a.tokens.shape[1]  # not as long as the longest
    torch.testing.assert_close(alone.tokens[0], a.tokens[1, :count])
    torch.testing.assert_close(a.tokens[a.token_mask], b.tokens[b.token_mask])


def test_a_weight_moves_a_token_from_the_null_and_is_its_share_in_the_mean():
    own = made()["text"]
    plain, heavy = (own(own.parse(text, 1)) for text in ("a red car", "a (red:1.5) car"))
    null = own.token_of(own.null)
    torch.testing.assert_close(heavy.tokens[:, [0, 2]], plain.tokens[:, [0, 2]])
    torch.testing.assert_close(heavy.tokens[:, 1] - null, 1.5 * (plain.tokens[:, 1] - null))
    ids = own.parse("a red car", 1)[:, :3].long()
    states = own.encoder(ids, torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool))[0]
    torch.testing.assert_close(heavy.vector[0], (states[0] + 1.5 * states[1] + states[2]) / 3.5)


def test_an_embedded_encoder_of_depth_0_is_a_bag_of_words_and_deeper_ones_know_order():
    for depth, same in ((0, True), (2, False)):
        own = made(depth=depth)["text"]
        a, b = (own(own.parse(text, 1)).vector for text in ("red cat", "cat red"))
        assert torch.allclose(a, b, atol=1e-6) == same


def test_texts_and_classes_stand_side_by_side():
    columns = {"class": Labels(np.array([0, 1, -1, 0, 1]), ("a", "b")), "text": COLUMN}
    conditions = Conditions.from_columns(columns, ["class", "text"], 16, tokens=True).eval()
    raw = {name: conditions[name].raw(columns[name]) for name in columns}
    context, words = conditions(raw, 5), conditions["text"](raw["text"])
    assert context.token_mask[:, 0].all() and torch.equal(context.token_mask[:, 1:], words.token_mask)
    assert torch.equal(context.tokens[:, 1:], words.tokens)
    torch.testing.assert_close(context.vector, words.vector + conditions["class"](raw["class"]).vector)
    plain = Conditions([ClassCondition("class", 4, True, names=("a",))], 4)(None, 2)
    assert plain.tokens.shape == (2, 1, 4) and plain.token_mask is None


def test_config_and_weights_rebuild_the_same_condition():
    conditions = made(vocabulary=300, length=20, hide=0.25, depth=1)
    again = Conditions.from_config(json.loads(json.dumps(conditions.config())))
    again.load_state_dict(conditions.state_dict())
    raw = {"text": conditions["text"].raw(COLUMN)}
    assert torch.equal(conditions(raw, 5).tokens, again.eval()(raw, 5).tokens)
    assert again["text"].hide == 0.25 and len(again["text"].encoder) <= 300
    assert torch.equal(again.parse("a new (one:2)", 1)["text"], conditions.parse("a new (one:2)", 1)["text"])


def test_training_hides_phrases_at_the_rate_asked_for_and_never_all():
    own = made(hide=0.4)["text"]
    raw = own.parse("aa, bb, cc", 1).expand(4000, -1)
    assert own(raw).token_mask.all()
    shown = own.train()(raw).token_mask
    comma = own.encoder.encode("a,")[-1]
    starts = [0, *(i for i, token in enumerate(raw[0, : shown.shape[1]].tolist()) if token == comma)]
    parts = [shown[:, a:b] for a, b in zip(starts, [*starts[1:], shown.shape[1]], strict=True)]
    assert len(parts) == 3 and all(torch.equal(p.all(1), p.any(1)) for p in parts)  # a phrase as a whole
    assert shown.any(1).all()
    # One of three is spared, the others are hidden with chance 0.4.
    assert abs(float(torch.stack([p[:, 0] for p in parts]).float().mean()) - (1 - 0.4 * 2 / 3)) < 0.02


def test_long_texts_are_cut_and_that_is_said():
    own = made(length=3)["text"]
    with pytest.warns(Caution, match=r"text 'a red cat, happy': longer than 3 tokens, the rest is cut"):
        raw = own.parse("a red cat, happy", 1)
    assert own.describe(raw) == ["a red cat"]
    with pytest.warns(Caution, match=r"text 'a red car, fast, shiny' and 2 more: longer than 3 tokens"):
        own.raw(COLUMN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made().parse("a red cat, happy", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder": "miniml"},
            "condition 'text': encoder='miniml' does not fit\nencoder takes 'embedded' or 'minilm'",
        ),
        ({"lenght": 3}, "condition 'text' has no option 'lenght'. Did you mean 'length'?"),
        ({"length": 0}, "condition 'text' has length 0"),
        ({"encoder": "folder"}, "text encoder 'folder' needs a folder"),
        ({"depth": -1}, "a text encoder of width 16 and depth -1"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(UserError) as error:
        made(**options)
    assert message in str(error.value)


def test_what_does_not_fit_is_named():
    own = made()["text"]
    with pytest.raises(UserError, match="is a text for the model, but a class in the data"):
        own.raw(Labels(np.array([0]), ("a",)))
    with pytest.raises(UserError, match="is empty for every item"):
        Conditions.from_columns({"text": Texts(np.array(["", " "]))}, ["text"], 8)
    with pytest.raises(UserError, match=r"there is no condition 'txt'. Did you mean 'text'\?"):
        Conditions.from_columns({"text": COLUMN}, ["text"], 8, options={"txt": {}})
    with pytest.raises(UserError, match=r"raw values of shape \(2, 3\)"):
        made().checked({"text": torch.zeros(2, 3)}, 2)
    with pytest.raises(UserError, match="text has a token 9999"):
        made().checked({"text": torch.full((2, 128), 9999.0)}, 2)
    damaged = made().config()
    damaged["items"]["text"]["encoder"]["merges"] = [[999, 1]]
    with pytest.raises(UserError, match="the vocabulary of a text is damaged: token 256 cannot stand for 999 and 1"):
        Conditions.from_config(damaged)
    damaged["items"]["text"]["encoder"] = {"name": "embeded"}
    with pytest.raises(UserError, match=r"there is no text encoder 'embeded'. Did you mean 'embedded'\?"):
        Conditions.from_config(damaged)


def test_tables_of_folders_bring_words():
    known = {"a": {"text": "Two cats", "kind": "x"}, "b": {"caption": "A dog", "text": ""}, "c": {}}
    columns = columns_of(known, ["b", "a", "c"])
    assert columns["text"].values.tolist() == ["", "Two cats", ""]
    assert columns["caption"].values.tolist() == ["A dog", "", ""] and isinstance(columns["kind"], Labels)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("condition.text=a red car", "a red car"),
        ("condition.text=a (red:1.3) car, it's fast", "a (red:1.3) car, it's fast"),
        ("negative=(dull:2)", "(dull:2)"),
        ("++condition.text=a, b", "a, b"),
        ("condition.text='a, b'", "a, b"),
        ("condition.text=[a red car,two cats]", ["a red car", "two cats"]),
    ],
)
def test_words_on_the_command_line_need_no_quotes_of_their_own(word, value):
    override = parsed(word)
    assert not override.is_sweep_override() and override.value() == value


def test_sweeps_and_functions_are_left_alone():
    assert parsed("condition.class=1,2").is_sweep_override()
    assert parsed("condition.gap=range(1,5)").is_sweep_override()


class Reader(Network):
    """Attends to words, and adds what they say to what it sees."""

    def __init__(self, layout, context_dim):
        super().__init__()
        self.embed, self.level = torch.nn.Linear(1, 16), LevelEmbedding(16, context_dim)
        self.block, self.out = TransformerBlock(16, 2, 16, context_dim), torch.nn.Linear(16, 1)

    def forward(self, x, level, context, previous=None, residuals=None):
        cond = self.level(level.c_noise["x"], context.vector)
        h = self.block(self.embed(x.parts["x"]), cond, x.masks["time"], context.tokens, context.token_mask)
        return {"x": self.out(h)}


def test_a_negative_prompt_of_another_length_steers_as_it_does_alone():
    layout = Layout((Part("x", "gaussian", ("time", 1)),))
    product = Product.from_config(layout, {"parts": {"x": {"name": "gaussian", "schedule": {"name": "cosine"}}}})
    conditions = made()
    parametrization = Parametrization("x0", product.processes["x"].schedule)
    denoiser = Denoiser(Reader(layout, 16), conditions, product, {"x": parametrization}).eval()
    with torch.no_grad():
        for p in denoiser.network.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    noise = Noise.of(3, 2)
    x_T = product.prior(noise, {"time": torch.tensor([4, 6])})
    asked = conditions.parse("two cats", 2)
    texts = ["a red car, fast, shiny, new and never driven by anybody", None]
    against = conditions.parse(texts, 2)
    with torch.no_grad():
        found = sample(denoiser, x_T, plan("ddim", product, 1), noise.seeds, asked, CFG(3.0, against)).parts["x"]
        times = {"x": np.float64(plan("ddim", product, 1).t[0])}
        branches = [denoiser(x_T, times, raw).prediction.x0["x"] for raw in (asked, against)]
    wanted = branches[1] + 3 * (branches[0] - branches[1])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert (branches[0] - branches[1]).abs().max() > 1e-3


@pytest.fixture
def ring(monkeypatch):
    """The toy's ring, whose points are described in words."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "third_party" / "toy"))
    monkeypatch.setenv("UNNOISE_PLUGINS", "unnoise-toy")
    registry._registry.cache_clear()
    from unnoise_toy.parts import Ring

    def columns(self):
        side = np.where(self.points[:, 0] > 0, "right", "left")
        height = np.where(self.points[:, 1] > 0, "upper", "lower")
        return {"text": Texts(np.array([f"the {h} {s}" for h, s in zip(height, side, strict=True)]))}

    monkeypatch.setattr(Ring, "columns", columns)
    yield {
        "modality": "toy",
        "data": {"name": "ring"},
        "representation": {"name": "plane"},
        "denoiser": {"name": "mlp"},
    }
    sys.modules.pop("unnoise_toy.parts", None)
    registry._registry.cache_clear()


def test_a_run_learns_what_words_mean_and_its_record_says_them(ring, tmp_path):
    options = {"steps": 500, "batch": 64, "lr": 4e-3, "warmup": 20, "ema": {"decay": 0.98}, "device": "cpu"}
    config = {**ring, "conditions": {"use": ["text"], "dim": 16}, "train": options, "sample": {"steps": 10, "n": 4}}
    train(config, tmp_path / "run")
    model = unnoise.load(tmp_path / "run")
    for text, side in (("the upper left", (-1, 1)), ("the lower right", (1, -1)), ("The  UPPER right", (1, 1))):
        made = model.sample(64, seed=1, condition=text, progress=False)
        assert np.mean(np.sign(np.stack(made.items)) == side) > 0.9
        assert made.record["condition"] == {"text": text.lower().replace("  ", " ")}
    guided = model.sample(8, condition="the upper left", negative="the (left:2)", guidance_scale=2, progress=False)
    assert guided.record["negative"] == {"text": "the (left:2)"}
    again = model.sample(8, condition=guided.record["condition"], negative=guided.record["negative"], guidance_scale=2)
    np.testing.assert_array_equal(np.stack(guided.items), np.stack(again.items))
    samples, _ = evaluate(model, 20, split="test", metrics=["radius"], steps=2)
    assert len(samples.record["condition"]["text"]) == 20
    with pytest.raises(UserError, match="split='tset' does not exist"):
        evaluate(model, 2, split="tset")


def test_words_for_a_model_that_knows_none_are_refused(ring, tmp_path):
    config = {**ring, "conditions": {"use": []}, "train": {"steps": 1, "device": "cpu"}, "sample": {"steps": 2, "n": 1}}
    train(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"the model has no condition 'text'.*\nThis model is unconditional"):
        unnoise.load(tmp_path / "run").sample(1, condition={"text": "a red car"})
