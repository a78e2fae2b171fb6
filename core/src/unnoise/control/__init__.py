"""Control: a branch beside a frozen denoiser that follows a map (Zhang et al. 2023)."""

from __future__ import annotations

from unnoise.control.branch import Control
from unnoise.control.steered import Acting, Controlled

__all__ = ["Acting", "Control", "Controlled"]
