"""What a network is told beside its input, and what it refuses to be told."""

import pytest
import torch

from unnoise import nn as blocks
from unnoise.contracts import Context
from unnoise.errors import UserError

C_NOISE, VECTOR, TOKENS = torch.tensor([0.1, -0.4]), torch.randn(2, 4), torch.randn(2, 3, 4)
MASK = torch.tensor([[True, True, False]] * 2)


def refusal(call):
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.message, caught.value.fix


def test_the_vector_is_that_of_a_level_embedding_with_the_same_weights():
    told, plain = blocks.Conditioning(8, 4, True, "row"), blocks.LevelEmbedding(8, 4)
    plain.load_state_dict(told.state_dict())  # the names of the weights are the same: checkpoints fit
    vector, tokens, mask = told.told(C_NOISE, Context(VECTOR, TOKENS, MASK))
    assert torch.equal(vector, plain(C_NOISE, VECTOR))
    assert tokens is TOKENS and mask is MASK
    assert torch.equal(told.told(C_NOISE, None)[0], plain(C_NOISE))
    assert told.told(C_NOISE, None)[1:] == (None, None)


def test_levels_of_elements_where_the_network_takes_them():
    each = C_NOISE[:, None].expand(2, 3)
    vector, _, _ = blocks.Conditioning(8, 4).told(each, Context(VECTOR))
    assert vector.shape == (2, 3, 8)
    said = refusal(lambda: blocks.Conditioning(8, 4, item="row").told(each, Context(VECTOR)))
    assert said == ("this denoiser takes one noise level per row", "use a denoiser that takes one per element")


@pytest.mark.parametrize(
    ("attends", "fix"), [(None, "conditions.tokens=false"), (False, "set denoiser.cross_attention=true")]
)
def test_tokens_that_nothing_attends_to_are_refused(attends, fix):
    said = refusal(lambda: blocks.Conditioning(8, 4, attends).told(C_NOISE, Context(VECTOR, TOKENS)))
    assert said == ("conditions.tokens=true, but the denoiser does not attend to tokens", fix)


def test_attention_needs_a_condition():
    assert refusal(lambda: blocks.Conditioning(8, 0, True))[1] == "name one: conditions.use=[class]"
    assert (blocks.Conditioning(8, 4, True).token_dim, blocks.Conditioning(8, 4).token_dim) == (4, 0)
