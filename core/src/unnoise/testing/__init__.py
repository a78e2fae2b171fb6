"""Tools for tests, for us and for plugin authors: exact denoisers and the measured order of samplers."""

from unnoise.testing.discrete import CategoricalDenoiser, MixedToy
from unnoise.testing.exact import GaussianDenoiser, MixtureDenoiser
from unnoise.testing.order import Order, order_of, probability_flow

__all__ = [
    "CategoricalDenoiser",
    "GaussianDenoiser",
    "MixedToy",
    "MixtureDenoiser",
    "Order",
    "order_of",
    "probability_flow",
]
