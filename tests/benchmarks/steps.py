"""What a step costs around a free denoiser, ours beside the peers' same methods: `python steps.py`

Latents 1x4x64x64, float32, one thread; medians of the processor time of several runs in one process, in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from peers import k_diffusion, peer
from torch import Tensor

import unnoise
from unnoise import schedules

SHAPE, STEPS, REPEATS = (1, 4, 64, 64), 50, 15
Run = Callable[[], object]
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("ddim", {}),
    "euler": ("euler", {}),
    "dpmpp_2m": ("dpmpp_2m", {}),
    "dpmpp_3m": ("dpmpp_3m", {}),
    "unipc order 2": ("unipc", {"order": 2}),
    "unipc order 3": ("unipc", {"order": 3}),
    "deis order 2": ("deis", {"order": 2}),
    "deis order 3": ("deis", {"order": 3}),
    "lms": ("lms", {}),
    "ipndm": ("ipndm", {}),
    "sa": ("sa", {"tau": 0.0}),
    "adams": ("adams", {}),
}
DIFFUSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"solver_order": 2}),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    "unipc order 2": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "unipc order 3": ("UniPCMultistepScheduler", {"solver_order": 3}),
    "deis order 2": ("DEISMultistepScheduler", {"solver_order": 2}),
    "deis order 3": ("DEISMultistepScheduler", {"solver_order": 3}),
    "lms": ("LMSDiscreteScheduler", {}),
    "ipndm": ("IPNDMScheduler", {}),
}


def denoise(x: Tensor, *_: object) -> Tensor:
    """Free, but for one product."""
    return 0.5 * x


def ours() -> Iterator[tuple[str, Run]]:
    """A run of every deterministic multistep sampler and of the two of first order; its plan is made before."""
    schedule = schedules.scaled_linear()
    x = unnoise.prior(SHAPE, schedule)
    for name, (sampler, options) in OURS.items():
        yield name, partial(unnoise.sample, denoise, x, unnoise.plan(sampler, schedule, STEPS, "karras", **options))


def of_diffusers() -> Iterator[tuple[str, Run]]:
    """The loop of a pipeline. A scheduler has to make its grid anew for each."""

    def run(made: Any, x: Tensor) -> Tensor:
        made.set_timesteps(STEPS)
        for t in made.timesteps:
            x = made.step(denoise(made.scale_model_input(x, t)), t, x, return_dict=False)[0]
        return x

    x = torch.randn(SHAPE)
    for name, (kind, options) in DIFFUSERS.items():
        yield name, partial(run, peer(kind)(**options), x)


def of_k_diffusion() -> Iterator[tuple[str, Run]]:
    """Its loops, on a grid made before."""
    sampling = k_diffusion("sampling")
    sigmas, x = sampling.get_sigmas_karras(STEPS, 0.03, 14.6), torch.randn(SHAPE) * 14.6
    methods = {
        "euler": sampling.sample_euler,
        "dpmpp_2m": sampling.sample_dpmpp_2m,
        "dpmpp_3m": partial(sampling.sample_dpmpp_3m_sde, eta=0.0, noise_sampler=lambda *_: 0.0),
        "lms": sampling.sample_lms,
    }
    for name, method in methods.items():
        yield name, partial(method, denoise, x, sigmas, disable=True)


def microseconds(runs: dict[tuple[str, str], Run]) -> dict[tuple[str, str], float]:
    """Median processor time of a step; every run in turn, so that what else the machine does falls on all."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(REPEATS):
        for key, run in runs.items():
            started = time.process_time()
            run()
            times[key].append(time.process_time() - started)
    return {key: 1e6 * statistics.median(values) / STEPS for key, values in times.items()}


def main() -> None:
    """Print one line per method."""
    torch.set_num_threads(1)
    runs = {("ours", name): run for name, run in ours()}
    for side, source in (("diffusers", of_diffusers), ("k-diffusion", of_k_diffusion)):
        try:
            runs |= {(side, name): run for name, run in source()}
        except ModuleNotFoundError as missing:
            print(f"without {side}: there is no {missing.name} (`make peers` installs it)")
    cost = microseconds(runs)
    print(f"microseconds a step, {STEPS} steps, {'x'.join(map(str, SHAPE))}")
    print(f"{'':14}     ours  diffusers  k-diffusion")
    for name in OURS:
        cells = [cost.get((side, name)) for side in ("ours", "diffusers", "k-diffusion")]
        print(f"{name:14} " + " ".join(f"{'-' if cell is None else round(cell):>10}" for cell in cells))


if __name__ == "__main__":
    main()
