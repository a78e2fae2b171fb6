"""Tools for tests, ours and plugin authors': exact denoisers, the measured order and
law of samplers, conformance checks."""

from unnoise.testing import checks
from unnoise.testing.checking import CHECKS, Result, explained, iter_checks, modality_checks, run_checks, summary
from unnoise.testing.discrete import CategoricalDenoiser, MixedToy
from unnoise.testing.exact import GaussianDenoiser, MixtureDenoiser
from unnoise.testing.moments import law_of
from unnoise.testing.order import Order, order_of, probability_flow

__all__ = [
    "CHECKS",
    "CategoricalDenoiser",
    "GaussianDenoiser",
    "MixedToy",
    "MixtureDenoiser",
    "Order",
    "Result",
    "checks",
    "explained",
    "iter_checks",
    "law_of",
    "modality_checks",
    "order_of",
    "probability_flow",
    "run_checks",
    "summary",
]
