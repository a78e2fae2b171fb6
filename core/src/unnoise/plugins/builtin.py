"""Core's own components, registered like anybody else's."""

from __future__ import annotations

from unnoise.plugins.hookspecs import API_VERSION, hookimpl
from unnoise.plugins.specs import Spec

UNNOISE_API = API_VERSION


@hookimpl
def unnoise_processes() -> list[Spec]:
    """How a part is noised."""
    return [
        Spec("gaussian", "unnoise.processes:Gaussian", "x_t = alpha x0 + sigma eps"),
        Spec("categorical", "unnoise.processes:Categorical", "classes decay to uniform, marginal or mask"),
    ]


@hookimpl
def unnoise_schedules() -> list[Spec]:
    """How much data and how much noise there is at time t."""
    return [
        Spec("cosine", "unnoise.schedules:cosine", "Nichol & Dhariwal 2021, without offset"),
        Spec("flow", "unnoise.schedules:flow", "straight path; Lipman et al. 2023, Liu et al. 2023"),
        Spec(
            "linear_survival",
            "unnoise.schedules:linear_survival",
            "share of signal falls linearly in t; for categories",
        ),
        Spec("edm", "unnoise.schedules:edm", "variance exploding; Karras et al. 2022"),
        Spec("linear_beta", "unnoise.schedules:linear_beta", "Ho et al. 2020"),
        Spec("scaled_linear", "unnoise.schedules:scaled_linear", "Rombach et al. 2022"),
        Spec("tabulated", "unnoise.schedules:tabulated", "given betas, exact at integer steps"),
        Spec("shift", "unnoise.schedules:shift", "another schedule with its times shifted; Esser et al. 2024"),
    ]


@hookimpl
def unnoise_samplers() -> list[Spec]:
    """How a plan is made from a schedule and a grid."""
    return [
        Spec("ddpm", "unnoise.sampling.samplers:ddpm", "Ho et al. 2020, stochastic"),
        Spec("ddim", "unnoise.sampling.samplers:ddim", "Song et al. 2021, order 1"),
        Spec("euler", "unnoise.sampling.samplers:euler", "Karras et al. 2022, order 1"),
        Spec("renoise", "unnoise.sampling.samplers:renoise", "ddim past the next level and back up with fresh noise"),
        Spec("heun", "unnoise.sampling.samplers:heun", "Karras et al. 2022, order 2, two evaluations a step"),
        Spec("dpmpp_2m", "unnoise.sampling.samplers:dpmpp_2m", "Lu et al. 2022, order 2, multistep"),
    ]


@hookimpl
def unnoise_conditions() -> list[Spec]:
    """What a model may be told."""
    return [
        Spec("class", "unnoise.conditions:ClassCondition", "one of several names"),
        Spec("scalar", "unnoise.conditions:ScalarCondition", "a number"),
    ]


@hookimpl
def unnoise_guidances() -> list[Spec]:
    """How predictions under several conditions are combined."""
    return [Spec("cfg", "unnoise.guidance:CFG", "Ho & Salimans 2022, classifier-free")]
