"""Samplers: pure functions ``(schedule, grid, **options) -> rows``.

Throughout, ``x_t = alpha x0 + sigma eps``, ``x0`` is the denoiser's estimate of clean data and
``eps = (x_t - alpha x0) / sigma``; ``lam = log(alpha / sigma)`` is half the log-SNR and ``h`` the step in it; the
present point of the grid is ``here``, the next one ``there``. At the last point, t = 0, alpha is 1 and sigma 0, so that
every formula becomes ``x <- x0`` exactly; but for :func:`adams`, :func:`lms`, :func:`ipndm` and :func:`deis` over time,
in whose coordinates data is a finite way off: their last step has the order of the others.
"""

from unnoise.sampling.samplers.angle import adams
from unnoise.sampling.samplers.declare import SAMPLERS, Rows, SamplerInfo, find, sampler, samplers
from unnoise.sampling.samplers.first_order import ddim, ddpm, euler, euler_ancestral, lcm, renoise, repaint
from unnoise.sampling.samplers.multistep import (
    deis,
    dpmpp_2m,
    dpmpp_2m_sde,
    dpmpp_3m,
    dpmpp_3m_sde,
    ipndm,
    lms,
    sa,
    unipc,
)
from unnoise.sampling.samplers.runge_kutta import (
    dpm_2,
    dpm_2_ancestral,
    dpmpp_2s_ancestral,
    dpmpp_sde,
    heun,
    midpoint,
    restart,
)
from unnoise.sampling.samplers.steps import eps

__all__ = [
    "SAMPLERS",
    "Rows",
    "SamplerInfo",
    "adams",
    "ddim",
    "ddpm",
    "deis",
    "dpm_2",
    "dpm_2_ancestral",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2s_ancestral",
    "dpmpp_3m",
    "dpmpp_3m_sde",
    "dpmpp_sde",
    "eps",
    "euler",
    "euler_ancestral",
    "find",
    "heun",
    "ipndm",
    "lcm",
    "lms",
    "midpoint",
    "renoise",
    "repaint",
    "restart",
    "sa",
    "sampler",
    "samplers",
    "unipc",
]
