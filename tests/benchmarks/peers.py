"""The solvers of diffusers and k-diffusion, with their own spacings, on the problems of :mod:`problems`.

Where a peer leaves a choice, it gets the better one: exact estimates at its own noise levels (in place of those of
timesteps that it has rounded), float64 tables, and the last step down to clean data.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from problems import Problems
from torch import Tensor

from unnoise.schedules import Flow, Schedule

warnings.filterwarnings("ignore", module="diffusers|k_diffusion")
STEPS = 1000
"""Length of the tables that diffusers is given."""


@dataclass(frozen=True)
class Solver:
    """A solver with its spacing. ``run(problems, steps)`` gives the end-point ``(1, N)``."""

    name: str
    run: Callable[[Problems, int], Tensor]
    evaluations: Callable[[int], int] = lambda steps: steps

    def steps(self, evaluations: int) -> int:
        """The most steps that cost so many evaluations."""
        return max((n for n in range(1, evaluations + 1) if self.evaluations(n) <= evaluations), default=0)


def k_diffusion(module: str) -> types.ModuleType:
    """A module of k-diffusion, without the package's own import, which wants all that its training uses."""
    if "k_diffusion" not in sys.modules:
        found = importlib.util.find_spec("k_diffusion")
        if found is None:
            raise ModuleNotFoundError("no module named 'k_diffusion'", name="k_diffusion")
        package = types.ModuleType("k_diffusion")
        package.__path__ = list(found.submodule_search_locations or [])
        sys.modules["k_diffusion"] = package
    return importlib.import_module(f"k_diffusion.{module}")


@contextmanager
def in_double() -> Iterator[None]:
    """Peers make tables in the default type and cast states to ``torch.float32``; here both are float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(torch, "float32", torch.float64):
            yield
    finally:
        torch.set_default_dtype(default)


def ratio(schedule: Schedule, t: Any) -> Any:
    """Noise-to-signal ratio, the sigma of k-diffusion."""
    return np.exp(-0.5 * schedule.log_snr(t))


def table(schedule: Schedule) -> np.ndarray:
    """Times of the steps of a discrete schedule: the schedule's own, or as many up to its ``t_max``."""
    return np.arange(1, STEPS + 1) / STEPS * schedule.t_max


def all_peers(schedule: Schedule) -> Iterator[Solver]:
    """Every solver that a schedule can be used with."""
    yield from k_diffusion_solvers(schedule)
    yield from diffusers_flow_solvers() if isinstance(schedule, Flow) else diffusers_solvers()


# k-diffusion: x / alpha over sigma / alpha, whatever the schedule.


def k_diffusion_solvers(schedule: Schedule) -> Iterator[Solver]:
    sampling, external = k_diffusion("sampling"), k_diffusion("external")
    ends = float(ratio(schedule, schedule.t_min)), float(ratio(schedule, schedule.t_max))
    discrete = external.DiscreteSchedule(torch.from_numpy(ratio(schedule, table(schedule))), quantize=False)
    grids: dict[str, Callable[[int], Tensor]] = {
        "karras": lambda n: sampling.get_sigmas_karras(n, *ends),
        "exponential": lambda n: sampling.get_sigmas_exponential(n, *ends),
        "table": discrete.get_sigmas,
    }
    methods: dict[str, tuple[Callable[..., Tensor], int]] = {
        "euler": (sampling.sample_euler, 1),
        "heun": (sampling.sample_heun, 2),
        "dpm_2": (sampling.sample_dpm_2, 2),
        "lms": (sampling.sample_lms, 1),
        "lms order 3": (partial(sampling.sample_lms, order=3), 1),
        "dpmpp_2s": (partial(sampling.sample_dpmpp_2s_ancestral, eta=0.0), 2),
        "dpmpp_2m": (sampling.sample_dpmpp_2m, 1),
        "dpmpp_2m heun": (partial(sampling.sample_dpmpp_2m_sde, eta=0.0, solver_type="heun"), 1),
        "dpmpp_3m": (partial(sampling.sample_dpmpp_3m_sde, eta=0.0), 1),
    }

    def run(method: Callable[..., Tensor], grid: Callable[[int], Tensor], problems: Problems, steps: int) -> Tensor:
        curve = problems.schedule

        def model(x: Tensor, sigma: Tensor) -> Tensor:
            t = float(curve.t_of(-2 * float(sigma[0].log())))
            return problems.denoise(float(curve.alpha(t)) * x, t)

        x = problems.start / float(curve.alpha(curve.t_max))
        noise = {"noise_sampler": lambda *_: 0.0} if "noise_sampler" in inspect.signature(method).parameters else {}
        return method(model, x, grid(steps).double(), disable=True, **noise)

    for name, (method, cost) in methods.items():
        for spacing, grid in grids.items():
            yield Solver(f"k-diffusion {name}, {spacing}", partial(run, method, grid), partial(evaluations, cost))


def evaluations(cost: int, steps: int) -> int:
    """Of so many steps, the last of which is one of Euler's."""
    return cost * (steps - 1) + 1


# diffusers

SPACINGS: dict[str, dict[str, Any]] = {
    "linspace": {"timestep_spacing": "linspace"},
    "leading": {"timestep_spacing": "leading", "steps_offset": 1},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu": {"use_lu_lambdas": True},
}
DPM = "DPMSolverMultistepScheduler"
MULTISTEP: list[tuple[str, str, dict[str, Any]]] = [
    ("dpmpp_2m", DPM, {"solver_order": 2}),
    ("dpmpp_2m heun", DPM, {"solver_order": 2, "solver_type": "heun"}),
    ("dpmpp_3m", DPM, {"solver_order": 3}),
    ("dpmpp_3m full last", DPM, {"solver_order": 3, "lower_order_final": False, "euler_at_final": True}),
    *((f"unipc order {p}", "UniPCMultistepScheduler", {"solver_order": p}) for p in (1, 2, 3)),
    *((f"deis order {p}", "DEISMultistepScheduler", {"solver_order": p}) for p in (1, 2, 3)),
    ("dpmpp_2s", "DPMSolverSinglestepScheduler", {"solver_order": 2, "lower_order_final": True}),
    ("dpmpp_3s", "DPMSolverSinglestepScheduler", {"solver_order": 3, "lower_order_final": True}),
]


def diffusers_solvers() -> Iterator[Solver]:
    """Those for variance-preserving tables."""
    scaled = [("euler", "EulerDiscreteScheduler"), ("lms", "LMSDiscreteScheduler"), ("heun", "HeunDiscreteScheduler")]
    for name, kind, options in [*MULTISTEP, *((name, kind, {}) for name, kind in scaled)]:
        for spacing, choice in SPACINGS.items():
            if not set(choice) <= accepted(kind):
                continue
            run = partial(by_sigma, kind, options | choice, "ratio" if (name, kind) in scaled else "preserving")
            cost = 2 if name == "heun" else 1
            yield Solver(f"diffusers {name}, {spacing}", run, partial(evaluations, cost))
    for spacing in ("linspace", "leading", "trailing"):
        choice = SPACINGS[spacing] | {"set_alpha_to_one": True}
        yield Solver(f"diffusers ddim, {spacing}", partial(by_time, "DDIMScheduler", choice | {"clip_sample": False}))
        pndm = partial(by_time, "PNDMScheduler", choice | {"skip_prk_steps": True})
        yield Solver(f"diffusers pndm, {spacing}", pndm, lambda steps: steps + 1)
    yield Solver("diffusers ipndm", ipndm)


def diffusers_flow_solvers() -> Iterator[Solver]:
    """Those for straight paths."""
    for shift in (1.0, 3.0):
        flow = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
        for name, kind, options in MULTISTEP:
            yield Solver(f"diffusers {name}, flow shift {shift:g}", partial(by_sigma, kind, options | flow, "flow"))
        heun = partial(by_sigma, "FlowMatchHeunDiscreteScheduler", {"shift": shift}, "flow")
        yield Solver(f"diffusers flow heun, shift {shift:g}", heun, partial(evaluations, 2))
        for spacing in ("", "karras", "exponential", "beta"):
            choice = {f"use_{spacing}_sigmas": True} if spacing else {}
            run = partial(by_sigma, "FlowMatchEulerDiscreteScheduler", {"shift": shift} | choice, "flow")
            yield Solver(f"diffusers flow euler, {spacing} shift {shift:g}", run)


def accepted(kind: str) -> set[str]:
    return set(inspect.signature(peer(kind).__init__).parameters)


def peer(kind: str) -> Any:
    """A scheduler's class."""
    import diffusers

    return getattr(diffusers, kind)


def scheduler(kind: str, schedule: Schedule, options: dict[str, Any]) -> Any:
    """A scheduler with the schedule's table, in float64 where it would have rounded to float32."""
    alphas = np.asarray(schedule.alpha(table(schedule))) ** 2
    flat = "trained_betas" not in accepted(kind) or isinstance(schedule, Flow)
    betas = {} if flat else {"trained_betas": (1 - alphas / np.append(1.0, alphas[:-1])).tolist()}
    made = peer(kind)(num_train_timesteps=STEPS, **betas, **options)
    if betas:
        made.alphas_cumprod = torch.from_numpy(alphas)
    return made


def levels(space: str, sigma: float) -> tuple[float, float]:
    """Alpha and sigma of a scheduler's state."""
    if space == "flow":
        return 1 - sigma, sigma
    return (1.0, sigma) if space == "ratio" else (1 / np.hypot(1, sigma), sigma / np.hypot(1, sigma))


def estimate(problems: Problems, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """Clean data, as seen from ``x = alpha x0 + sigma eps`` in whatever scale."""
    if sigma < 1e-8:
        return x / alpha
    curve = problems.schedule
    t = float(curve.t_of(2 * np.log(max(alpha, 1e-12) / sigma)))
    return problems.denoise(x * (float(curve.sigma(t)) / sigma), t)


def by_sigma(kind: str, options: dict[str, Any], space: str, problems: Problems, steps: int) -> Tensor:
    """A scheduler that goes by its ``sigmas``; one that stops above zero is given an evaluation to get there."""
    made = scheduler(kind, problems.schedule, options)
    to_zero = not kind.startswith("DEIS")
    made.set_timesteps(steps if to_zero else max(steps - 1, 1))
    made.set_begin_index(0)
    made.sigmas = made.sigmas.double()
    x = problems.start * float(made.init_noise_sigma if space == "ratio" else 1.0)
    for t in made.timesteps:
        at = levels(space, float(made.sigmas[made.step_index or 0]))
        x0 = estimate(problems, x, *at)
        noise = (x - at[0] * x0) / at[1]
        if space == "ratio":
            made.is_scale_input_called = True  # the estimate is made from the unscaled state
        x = made.step(noise - x0 if space == "flow" else noise, t, x, return_dict=False)[0].double()
    return x if to_zero else estimate(problems, x, *levels(space, float(made.sigmas[-1])))


def by_time(kind: str, options: dict[str, Any], problems: Problems, steps: int) -> Tensor:
    """A scheduler that goes by integer steps of its table."""
    made = scheduler(kind, problems.schedule, options)
    made.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    made.set_timesteps(steps)
    x = problems.start
    for t in made.timesteps:
        level = float(made.alphas_cumprod[int(t)])
        alpha, sigma = np.sqrt(level), np.sqrt(1 - level)
        noise = (x - alpha * estimate(problems, x, alpha, sigma)) / sigma
        x = made.step(noise, int(t), x, return_dict=False)[0]
    return x


def ipndm(problems: Problems, steps: int) -> Tensor:
    """diffusers' IPNDM takes the standard deviations of its steps as they are: equal steps of the schedule's time."""
    curve = problems.schedule
    sigmas = np.append(curve.sigma(np.linspace(curve.t_max, curve.t_max / steps, steps)), 0.0)
    made = peer("IPNDMScheduler")(num_train_timesteps=STEPS, trained_betas=sigmas.tolist())
    made.set_timesteps(steps)
    made.betas, made.alphas = torch.from_numpy(sigmas), torch.from_numpy(np.sqrt(1 - sigmas**2))
    x = problems.start
    for n, t in enumerate(made.timesteps):
        alpha, sigma = float(made.alphas[n]), sigmas[n]
        x0 = estimate(problems, x, alpha, sigma)
        v = alpha * (x - alpha * x0) / sigma - sigma * x0
        x = made.step(v, t, x, return_dict=False)[0]
    return x


def endpoints(
    problems: Problems, solvers: Sequence[Solver], counts: Sequence[int]
) -> Iterator[tuple[Solver, int, Tensor | Exception]]:
    """What every solver makes of the problems; where one cannot take so few or so many steps, why."""
    for solver in solvers:
        for count in counts:
            try:
                with in_double():
                    end: Tensor | Exception = solver.run(problems, solver.steps(count))
            except Exception as refusal:
                end = refusal
            yield solver, count, end
