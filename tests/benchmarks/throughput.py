"""How fast experiments train and sample on this CPU, and where the time goes. `python throughput.py [experiment ...]`

Every row is measured in one process, in turns with the others, and the best of several turns counts: compare rows of
one run with each other, not with another run's. Weights are random, which costs the same as trained ones.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from unnoise.testing.subject import Subject

EXPERIMENTS = ("image/demo", "molecules/qm9")
SAMPLES, STEPS = 128, 5


def matmul_rate(size: int = 1024) -> float:
    """FLOP/s of a float32 matrix product."""
    a, b = torch.randn(2, size, size)
    return 2 * size**3 / best(lambda: a @ b, 5)


def best(function, repeats: int) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def measure(experiment: str, words: list[str], folder: Path, repeats: int, shares: bool) -> None:
    """Print the rows of one experiment, which works in an empty folder."""
    subject = Subject(experiment.split("/")[0], folder, [f"experiment={experiment}", *words])
    batch = subject.config.train.batch
    trainers = {p: subject.trainer(folder / p, steps=10**6, precision=p) for p in ("fp32", "bf16")}
    for trainer in trainers.values():
        trainer.task.train()
        trainer._step()
    with FlopCounterMode(display=False) as counter:
        trainers["fp32"]._step()
    seconds = dict.fromkeys(trainers, float("inf"))
    for _ in range(repeats):
        for precision, trainer in trainers.items():
            seconds[precision] = min(seconds[precision], best(trainer._step, 1))
    parameters = sum(p.numel() for p in trainers["fp32"].task.denoiser.parameters())
    flops = counter.get_total_flops()
    share, gain = flops / seconds["fp32"] / matmul_rate(), seconds["fp32"] / seconds["bf16"]
    print(f"\n{experiment}: {parameters / 1e6:.2f} M parameters, {flops / batch / 1e6:.0f} MFLOP a sample")
    print(f"  training, fp32   {batch / seconds['fp32']:8.0f} samples/s   {share:.0%} of the matrix-product rate")
    print(f"  training, bf16   {batch / seconds['bf16']:8.0f} samples/s   {gain:.2f} x fp32")
    model, steps = subject.model, STEPS
    duration = best(lambda: model.sample(SAMPLES, steps=steps, batch=SAMPLES, progress=False), repeats)
    print(f"  sampling         {SAMPLES * model.plan(steps=steps).nfe / duration:8.0f} evaluations/s")
    if shares:
        chosen = min(seconds, key=seconds.get)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            trainers[chosen]._step()
        events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        print(f"  a step in {chosen}: " + ", ".join(f"{e.key} {e.self_cpu_time_total / total:.0%}" for e in events[:8]))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", default=EXPERIMENTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shares", action="store_true", help="also say which operations take the time")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config overrides")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {torch.backends.cpu.get_cpu_capability()}")
    for experiment in options.experiments:
        with tempfile.TemporaryDirectory() as folder:
            measure(experiment, options.set, Path(folder), options.repeats, options.shares)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
