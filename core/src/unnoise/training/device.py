"""Where a network runs, and in which precision."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from typing import Any

import torch

from unnoise.errors import UserError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" prefers a GPU. Raises UserError if it is not there.

    On a CPU the process keeps from now on the memory that it frees: see `keep_memory`.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).tolist()  # noise is drawn in it; Apple's GPUs lack it
    except (RuntimeError, AssertionError, TypeError) as error:
        here = ["cpu"] + ["cuda"] * torch.cuda.is_available()
        fix = f"this machine has: {', '.join(here)}; auto takes the best"
        raise UserError(f"device {name!r} cannot be used: {_first_sentence(error)}", fix) from error
    if device.type == "cpu":
        keep_memory()
    return device


@cache
def keep_memory() -> None:
    """Have glibc use freed blocks again rather than give them back to the system, in this process and once.

    It takes a tensor of more than 32 MB from the system and gives it back when it is freed, so that large activations
    are pages that the system clears and maps anew at every step, which can take half of the time. The process stays as
    large as it once was. Nothing happens where another allocator is used or the environment sets glibc's own
    (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES``): mallopt(3).
    """
    own = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in own):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 2**31 - 1)
    libc.mallopt(_TRIM_THRESHOLD, -1)


def _first_sentence(error: Exception) -> str:
    """What torch says, without its advice and its list of every device there ever was."""
    text = str(error).splitlines()[0].split(". ")[0]
    return "there is no such device" if text.startswith("Expected one of") else text


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a network runs in bfloat16 under ``precision``; weights stay in float32 anyway.

    "auto" takes it where there are instructions for its products: on GPUs that have it, and on CPUs with AMX or AVX-512
    BF16. Elsewhere a CPU takes many times as long as in float32.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise UserError(f"train.precision {precision!r} does not exist", "There is: auto, fp32, bf16")
    if precision == "auto" and device.type == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot say
        return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bf16"
