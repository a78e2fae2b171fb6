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
        Spec("ddpm", "unnoise.sampling.samplers:ddpm", "Ho et al. 2020, ancestral, stochastic"),
        Spec("ddim", "unnoise.sampling.samplers:ddim", "Song et al. 2021, order 1; eta"),
        Spec("euler", "unnoise.sampling.samplers:euler", "Karras et al. 2022, order 1; churn"),
        Spec("euler_ancestral", "unnoise.sampling.samplers:euler_ancestral", "ddim with eta 1: ddpm"),
        Spec("heun", "unnoise.sampling.samplers:heun", "Karras et al. 2022, order 2, two evaluations a step; churn"),
        Spec("midpoint", "unnoise.sampling.samplers:midpoint", "order 2, two evaluations a step"),
        Spec("dpm_2", "unnoise.sampling.samplers:dpm_2", "midpoint in log-SNR, order 2, two evaluations a step"),
        Spec(
            "dpm_2_ancestral",
            "unnoise.sampling.samplers:dpm_2_ancestral",
            "midpoint in log-SNR, two evaluations a step, stochastic",
        ),
        Spec(
            "dpmpp_2s_ancestral",
            "unnoise.sampling.samplers:dpmpp_2s_ancestral",
            "Lu et al. 2022, two evaluations a step, stochastic",
        ),
        Spec("dpmpp_sde", "unnoise.sampling.samplers:dpmpp_sde", "Lu et al. 2022, two evaluations a step, stochastic"),
        Spec(
            "restart",
            "unnoise.sampling.samplers:restart",
            "Xu et al. 2023, heun that walks a stretch again, stochastic",
        ),
        Spec("adams", "unnoise.sampling.samplers:adams", "Adams over the angle, order 4, multistep with corrector"),
        Spec("dpmpp_2m", "unnoise.sampling.samplers:dpmpp_2m", "Lu et al. 2022, order 2, multistep"),
        Spec("dpmpp_3m", "unnoise.sampling.samplers:dpmpp_3m", "Lu et al. 2022, order 3, multistep"),
        Spec("dpmpp_2m_sde", "unnoise.sampling.samplers:dpmpp_2m_sde", "Lu et al. 2022, multistep, stochastic"),
        Spec("dpmpp_3m_sde", "unnoise.sampling.samplers:dpmpp_3m_sde", "Lu et al. 2022, multistep, stochastic"),
        Spec("unipc", "unnoise.sampling.samplers:unipc", "Zhao et al. 2023, order 3, multistep with corrector"),
        Spec("sa", "unnoise.sampling.samplers:sa", "Xue et al. 2023, multistep with corrector, stochastic"),
        Spec("lms", "unnoise.sampling.samplers:lms", "Adams-Bashforth over sigma, order 4, multistep"),
        Spec("deis", "unnoise.sampling.samplers:deis", "Zhang & Chen 2023, order 3, multistep"),
        Spec("ipndm", "unnoise.sampling.samplers:ipndm", "Liu et al. 2022, multistep"),
        Spec("renoise", "unnoise.sampling.samplers:renoise", "ddim past the next level and back up with fresh noise"),
        Spec("repaint", "unnoise.sampling.samplers:repaint", "Lugmayr et al. 2022, ddim walked to and fro, for infill"),
        Spec("lcm", "unnoise.sampling.samplers:lcm", "consistency models: to data and back up; Song et al. 2023"),
    ]


@hookimpl
def unnoise_conditions() -> list[Spec]:
    """What a model may be told."""
    return [
        Spec("class", "unnoise.conditions:ClassCondition", "one of several names"),
        Spec("scalar", "unnoise.conditions:ScalarCondition", "a number"),
        Spec("curve", "unnoise.conditions:CurveCondition", "a number that changes over an item"),
        Spec("text", "unnoise.conditions:TextCondition", "words, by an encoder of its own or somebody else's"),
        Spec("map", "unnoise.conditions:MapCondition", "numbers all over an item: edges, depth"),
    ]


@hookimpl
def unnoise_metrics() -> list[Spec]:
    """What any modality can be judged by."""
    return [Spec("agreement", "unnoise.agreement:AgreementMetric", "how well samples follow their maps")]


@hookimpl
def unnoise_guidances() -> list[Spec]:
    """How predictions under several conditions are combined."""
    return [
        Spec("cfg", "unnoise.guidance:CFG", "Ho & Salimans 2022, classifier-free; a scale per condition"),
        Spec("apg", "unnoise.guidance:APG", "Sadat et al. 2024, projected, bounded, with momentum"),
        Spec("cfg_zero", "unnoise.guidance:CFGZero", "Fan et al. 2025, null branch fitted, zero first steps"),
        Spec("cfg_pp", "unnoise.guidance:CFGPlusPlus", "Chung et al. 2024, noise of the null branch"),
        Spec("auto", "unnoise.guidance:Auto", "Karras et al. 2024, away from a weaker model"),
    ]
