"""The training loop: resumed runs are the same run, interrupted ones lose nothing, broken ones say where."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from unnoise.contracts import Representation
from unnoise.errors import Interrupted, UserError
from unnoise.schema import ConditionsConfig, EmaConfig, TrainConfig
from unnoise.training.checkpoint import checkpoints
from unnoise.training.data import EncodedData
from unnoise.training.device import choose_device, uses_bfloat16
from unnoise.training.optim import lr_factor
from unnoise.training.tasks import Diffusion
from unnoise.training.trainer import Events, Task, Trainer

CONFIG = TrainConfig(
    precision="fp32",
    steps=12, batch=8, lr=3e-3, warmup=3, log_every=2, checkpoint_every=5, keep=9, part_weights={"bonds": 3.0},
    weighting={"name": "learned"}, time_sampling={"name": "logit_normal"},
)  # fmt: skip


class Jittered(Representation):
    """Encoded already; adds noise to positions, and carries a statistic."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout
        self.register_buffer("scale", torch.tensor(2.0))

    fit = settings = restore = encode = decode = save = preview = None

    def augment(self, state, noise):
        x = state.parts["x"] + 0.1 * noise.normal(self.layout["x"], state.parts["x"].shape[1:], purpose="augment")
        return state.replace({**state.parts, "x": x}).project()


def make_task(mixed, config=CONFIG, seed=0):
    data = EncodedData(mixed.state((5, 3, 1, 4, 2, 5, 3, 4, 2, 5)), {"class": torch.arange(10) % 3 - 1})
    return Diffusion(Jittered(mixed.layout), mixed.denoiser(dropout=0.2), data, config, ConditionsConfig(), seed)


def make_trainer(mixed, folder, config=CONFIG, **events):
    folder.mkdir(exist_ok=True)
    return Trainer(make_task(mixed, config), config, 0, folder, Events(**events))


def final(folder):
    last = checkpoints(folder / "checkpoints")[-1]
    return {
        f"{name}/{key}": value for name in ("model", "ema", "optimizer") for key, value in last.tensors(name).items()
    }


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_is_bit_identical_to_a_straight_one(mixed, tmp_path, optimizer):
    config = replace(CONFIG, optimizer=optimizer, log_every=5, checkpoint_every=3, accumulate=2)
    make_trainer(mixed, tmp_path / "straight", config).run()
    straight = final(tmp_path / "straight")
    for crash_at in (3, 9):

        def crash(path, step, crash_at=crash_at):
            if step == crash_at:
                raise OSError("power cut")

        folder = tmp_path / f"crashed{crash_at}"
        with pytest.raises(OSError, match="power cut"):
            make_trainer(mixed, folder, config, saved=crash).run()
        torch.rand(3)  # whatever happened in between
        again = make_trainer(mixed, folder, config)
        again.resume(checkpoints(folder / "checkpoints")[-1])
        again.run()
        assert same(final(folder), straight)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        expected = [json.loads(line) for line in (tmp_path / "straight" / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [5, 10, 12]
        for line in lines + expected:
            del line["seconds"], line["samples_per_second"]
        assert lines == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_whole_step_and_loses_nothing(mixed, tmp_path, number):
    make_trainer(mixed, tmp_path / "straight").run()
    before = signal.getsignal(number)

    def interrupt(step, metrics):
        if step == 4:
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as stopped:
        make_trainer(mixed, tmp_path / "stopped", train_step=interrupt).run()
    (saved,) = checkpoints(tmp_path / "stopped" / "checkpoints")
    assert (saved.step, stopped.value.number) == (4, number) and signal.getsignal(number) is before
    again = make_trainer(mixed, tmp_path / "stopped")
    again.resume(saved)
    again.run()
    assert same(final(tmp_path / "stopped"), final(tmp_path / "straight"))


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a shell's foreground job meets it; a background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_stops_at_once(mixed, tmp_path, ctrl_c):
    def interrupt(step, metrics):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        make_trainer(mixed, tmp_path, train_step=interrupt).run()
    assert not isinstance(stopped.value, Interrupted) and not checkpoints(tmp_path / "checkpoints")


class Regression(Task):
    """Least squares on addressed inputs; a loss that is NaN from ``bad_from`` on."""

    def __init__(self, bad_from=10**9, inputs=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)
        self.bad_from, self.seen, self.dtypes = bad_from, [], set()

    def loss(self, index):
        self.seen += index.tolist()
        x = torch.stack([index.float().sin(), index.float().cos(), index % 2], 1)
        out = self.net(x)
        self.dtypes.add(out.dtype)
        loss = (out.float()[:, 0] - x[:, 0]).square().mean()
        return loss + (float("nan") if int(index.max()) >= self.bad_from else 0.0), {"error/x": loss}


PLAIN = TrainConfig(steps=20, batch=4, log_every=5, checkpoint_every=10, warmup=0, precision="fp32")


def run_plain(tmp_path, config=PLAIN, task=None, **events):
    task = task or Regression()
    trainer = Trainer(task, config, 0, tmp_path, Events(**events))
    trainer.run()
    return trainer


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_and_part(tmp_path):
    task = Regression(bad_from=13 * 4)
    with pytest.raises(UserError, match=r"loss.* of step 14 is not finite"):
        run_plain(tmp_path, task=task)
    assert [c.step for c in checkpoints(tmp_path / "checkpoints")] == [10]
    assert all(torch.isfinite(value).all() for value in final(tmp_path).values())


def test_a_batch_in_pieces_is_the_same_batch(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "pieces").mkdir()
    whole = run_plain(tmp_path / "whole").task
    pieces = run_plain(tmp_path / "pieces", replace(PLAIN, accumulate=4)).task
    torch.testing.assert_close(pieces.net.weight, whole.net.weight, rtol=1e-5, atol=1e-6)
    assert pieces.seen == whole.seen == list(range(80))
    with pytest.raises(UserError, match=r"train\.batch=4 cannot be computed in 3"):
        Trainer(Regression(), replace(PLAIN, accumulate=3), 0, tmp_path)


def _line(capsys):
    """What was told, as one line."""
    return " ".join(capsys.readouterr().err.split())


def test_the_clock_ends_a_run_and_the_learning_rate_falls_with_it(tmp_path, capsys):
    config = replace(PLAIN, steps=10**7, minutes=0.5 / 60, log_every=1, decay=0.5)
    begun = time.monotonic()
    trainer = run_plain(tmp_path, config)
    assert 0.4 < time.monotonic() - begun < 5 and trainer.state.step < 10**6
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for before, line in zip([{"seconds": 0.0}, *lines], lines, strict=False):
        low, high = (lr_factor(config, 10**6, min(x["seconds"] / 0.5, 1.0)) for x in (line, before))
        assert low - 1e-6 <= line["lr"] / 1e-3 <= high + 1e-6
    again = Trainer(Regression(), config, 0, tmp_path)
    again.resume(checkpoints(tmp_path / "checkpoints")[-1])
    assert again.progress() == 1.0
    ended = f"train.minutes=0.00833333 ended the training at step {trainer.state.step} of 10000000"
    assert ended in _line(capsys) and "ended the training" not in (again.run() or _line(capsys))


def test_a_run_that_the_clock_ends_in_its_warm_up_says_so(tmp_path, capsys):
    run_plain(tmp_path, replace(PLAIN, steps=10**7, minutes=0.05 / 60, warmup=10**6))
    assert "in its warm-up of 1000000 steps: give it more minutes" in _line(capsys)


def test_metrics_previews_and_checkpoints_come_when_asked(tmp_path):
    told: list = []
    config = replace(PLAIN, preview_every=10, keep=1, ema=EmaConfig(decay=0.5, warmup=False))
    task = Regression()
    run_plain(
        tmp_path, config, task,
        train_step=lambda step, metrics: told.append((step, sorted(metrics))),
        saved=lambda path, step: told.append(("saved", step)),
        preview=lambda step: told.append(("preview", step, task.training, task.net.weight.detach().clone())),
    )  # fmt: skip
    names = ["error/x", "grad_norm", "loss", "lr", "samples_per_second", "seconds"]
    assert [entry for entry in told if entry[0] in (5, 10, 15, 20)] == [(step, names) for step in (5, 10, 15, 20)]
    previews = [entry for entry in told if entry[0] == "preview"]
    assert [entry[1] for entry in previews] == [10, 20] and not any(entry[2] for entry in previews) and task.training
    (saved,) = checkpoints(tmp_path / "checkpoints")
    assert saved.step == 20 and torch.equal(previews[-1][3], saved.tensors("ema")["net.weight"])
    assert not torch.equal(task.net.weight, previews[-1][3])


def test_checkpoints_are_kept_by_the_rules_of_the_config(tmp_path):
    """The loss of this task is lowest where its data say so, and not at the end."""

    class Valley(Regression):
        def loss(self, index):
            loss, parts = super().loss(index)
            step = int(index[0]) // 4
            return loss * 0 + abs(step - 6.5), parts

    config = replace(PLAIN, steps=24, checkpoint_every=2, log_every=1, keep=2, keep_every=10, keep_best="loss")
    run_plain(tmp_path, config, Valley())
    assert [c.step for c in checkpoints(tmp_path / "checkpoints")] == [8, 10, 20, 22, 24]


def test_a_metric_that_is_not_measured_cannot_choose_checkpoints(tmp_path):
    with pytest.raises(UserError, match=r"keep_best: there is no metric 'losss'\. Did you mean 'loss'"):
        run_plain(tmp_path, replace(PLAIN, keep_best="losss"))


def test_such_a_metric_does_not_cost_a_resumed_run_its_best_checkpoint(tmp_path):
    run_plain(tmp_path, replace(PLAIN, keep=1, keep_every=10))
    trainer = Trainer(Regression(), replace(PLAIN, steps=30, keep=1, keep_best="losss"), 0, tmp_path)
    with pytest.raises(UserError, match=r"keep_best: there is no metric 'losss'"):
        trainer.resume(checkpoints(tmp_path / "checkpoints")[-1])
    assert [c.step for c in checkpoints(tmp_path / "checkpoints")] == [10, 20]


def test_a_damaged_line_of_metrics_is_named_and_an_unfinished_one_dropped(tmp_path):
    run_plain(tmp_path)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)

    def again():
        trainer = Trainer(Regression(), PLAIN, 0, tmp_path)
        trainer.resume(checkpoints(tmp_path / "checkpoints")[-1])
        trainer.run()

    path.write_text("".join([*lines, lines[-1][:20]]))
    again()
    assert path.read_text() == "".join(lines)
    path.write_text("".join([lines[0], lines[1][9:], *lines[2:]]))
    with pytest.raises(UserError, match=r"line 2 of .*metrics\.jsonl is damaged\nDelete that line\."):
        again()


def test_a_run_learns(tmp_path):
    trainer = run_plain(tmp_path, replace(PLAIN, steps=400, lr=0.03, batch=32))
    lines = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1] < 1e-4 < lines[0] and trainer.progress() == 1.0


def test_bfloat16_runs_the_network_and_keeps_weights_and_moments_in_float32(tmp_path):
    task = Regression()
    run_plain(tmp_path, replace(PLAIN, precision="bf16"), task)
    assert task.dtypes == {torch.bfloat16} and {value.dtype for value in final(tmp_path).values()} == {torch.float32}


def test_devices_and_precisions_that_do_not_exist_are_named():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="device 'gpu' cannot be used"):
        choose_device("gpu")
    with pytest.raises(UserError, match="'fp8' does not exist"):
        uses_bfloat16("fp8", torch.device("cpu"))


KEPT = """
import os
import torch
from unnoise.training.device import choose_device

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

choose_device("cpu")
before = resident()
x = torch.ones(1 << 25)
del x
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_cpu_keeps_the_memory_of_freed_tensors_unless_the_environment_sets_the_allocator():
    def kept(**variables: str) -> int:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
        ran = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, env={**plain, **variables})
        return int(ran.stdout)

    size = 4 << 25
    assert kept() > 0.9 * size
    assert kept(MALLOC_TRIM_THRESHOLD_="131072") < 0.1 * size


def test_a_cpu_with_matrix_units_runs_in_bfloat16_by_itself(monkeypatch):
    for capabilities, expected in (
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert uses_bfloat16("auto", torch.device("cpu")) is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not uses_bfloat16("auto", torch.device("cpu")), "an older torch cannot say"
    assert uses_bfloat16("bf16", torch.device("cpu"))


def test_statistics_are_in_the_checkpoint_and_are_not_averaged(mixed, tmp_path):
    make_trainer(mixed, tmp_path).run()
    tensors = checkpoints(tmp_path / "checkpoints")[-1].tensors("ema")
    assert tensors["representation.scale"] == 2.0 and any(name.startswith("weightings.") for name in tensors)


def test_a_weight_for_a_part_that_does_not_exist_is_named(mixed):
    with pytest.raises(UserError, match=r"no part 'bond'\. Did you mean 'bonds'"):
        make_task(mixed, replace(CONFIG, part_weights={"bond": 2.0}))
