"""What the engine costs beside the network: start-up, addressed noise, plans, the loop. `python engine.py`"""

import subprocess
import sys
import time
from collections.abc import Callable

import torch

import unnoise
from unnoise.layout import Part
from unnoise.noise import Noise


def best(function: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


torch.set_num_threads(1)


def main() -> None:
    """Print one line per measurement."""
    command = [sys.executable, "-m", "unnoise", "--help"]
    seconds = best(lambda: subprocess.run(command, capture_output=True, check=True))
    print(f"unnoise --help                        {1e3 * seconds:8.1f} ms")

    part, shape, batch = Part("x", "gaussian", (3, 64, 64)), (3, 64, 64), 32
    noise = Noise.of(0, batch)
    numbers = batch * 3 * 64 * 64
    addressed = best(lambda: noise.normal(part, shape))
    plain = best(lambda: torch.randn(batch, *shape))
    print(f"addressed normal numbers              {1e9 * addressed / numbers:8.1f} ns each")
    print(f"torch.randn                           {1e9 * plain / numbers:8.1f} ns each")

    schedule = unnoise.schedules.cosine()
    for name in unnoise.samplers():
        planned = best(lambda name=name: unnoise.plan(name, schedule, 50))
        plan = unnoise.plan(name, schedule, 50)
        x_T = unnoise.prior((4, 16), schedule)
        loop = best(lambda plan=plan, x_T=x_T: unnoise.sample(lambda x, t: 0.5 * x, x_T, plan))
        print(f"{name:10} 50 steps: plan {1e3 * planned:6.1f} ms, loop {1e6 * loop / len(plan.rows):7.0f} us a row")


if __name__ == "__main__":
    main()
