"""What a network is told beside its input, with a word for what it cannot be told."""

from __future__ import annotations

from torch import Tensor

from unnoise.contracts import Context
from unnoise.errors import UserError
from unnoise.nn.embed import LevelEmbedding

Told = tuple[Tensor, Tensor | None, Tensor | None]
"""A vector, tokens to attend to ``(B, L, context_dim)``, and their mask ``(B, L)``."""


class Conditioning(LevelEmbedding):
    """A :class:`LevelEmbedding` for networks that may attend to a condition's tokens. It refuses what its network would
    pass over in silence: tokens that nothing attends to, levels that differ within an item.

    Args:
        dim: size of the vector.
        context_dim: size of the condition's vector and of its tokens; 0 for an unconditional network.
        cross_attention: whether the network attends to tokens; None for one that cannot, whatever its options.
        item: what one item is called ("row"), for a network that takes one noise level for all of it; empty for one
            that takes a level per element.

    Raises:
        UserError: if there is nothing to attend to.
    """

    def __init__(self, dim: int, context_dim: int = 0, cross_attention: bool | None = None, item: str = "") -> None:
        super().__init__(dim, context_dim)
        if cross_attention and not context_dim:
            raise UserError(
                "denoiser.cross_attention=true, but the model has no condition", "name one: conditions.use=[class]"
            )
        self.cross_attention, self.item = cross_attention, item
        self.token_dim = context_dim if cross_attention else 0

    def told(self, c_noise: Tensor, context: Context | None) -> Told:
        """The vector of level and condition, and the tokens to attend to.

        Args:
            c_noise: ``(B,)``; or ``(B, n)``, a level per element, for a vector ``(B, n, dim)``.
            context: the embedded condition.

        Raises:
            UserError: for levels or tokens that the network does not take.
        """
        if self.item and c_noise.dim() != 1:
            raise UserError(
                f"this denoiser takes one noise level per {self.item}", "use a denoiser that takes one per element"
            )
        if context is None:
            return self(c_noise), None, None
        if context.tokens is not None and not self.token_dim:
            fix = "conditions.tokens=false" if self.cross_attention is None else "set denoiser.cross_attention=true"
            raise UserError("conditions.tokens=true, but the denoiser does not attend to tokens", fix)
        return self(c_noise, context.vector), context.tokens, context.token_mask
