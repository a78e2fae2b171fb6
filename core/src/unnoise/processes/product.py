"""The product of the processes of a layout's parts, each with a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from unnoise.errors import UserError
from unnoise.layout import Layout, Part
from unnoise.noise import Noise
from unnoise.plugins import get_registry
from unnoise.plugins.signature import check_complete, check_options
from unnoise.processes.base import Process
from unnoise.schedules import Array, Schedule, Times
from unnoise.state import State


@dataclass(frozen=True)
class Power:
    """The warp ``t = u^exponent`` of the time all parts share; above 1 a part is noised later and denoised earlier."""

    exponent: float = 1.0
    name: ClassVar[str] = "power"

    def __post_init__(self) -> None:
        if not 0 < self.exponent < np.inf:
            raise UserError(f"a power warp cannot have exponent {self.exponent}", "give a number above 0")

    def __call__(self, u: Times) -> Array:
        return np.asarray(u, dtype=np.float64) ** self.exponent

    def inverse(self, t: Times) -> Array:
        return np.asarray(t, dtype=np.float64) ** (1 / self.exponent)


WARPS: dict[str, type[Power]] = {Power.name: Power}
"""The monotone maps of [0, 1] with fixed ends that a config may name."""


@dataclass(frozen=True)
class Product:
    """One process per part, independent given clean data.

    All parts share a master time u in [0, 1]; each has its own time ``t = warp(u)``, the same number where it has no
    warp. Everything that comes back is projected onto legal states.

    Args:
        layout: of clean data. The attribute is that of noised data, in which absorbing parts have a mask token.
        processes: part -> its process.
        warps: part -> its map from master time to own time, monotone and with fixed ends; the identity where absent.

    Raises:
        ValueError: if parts, processes and warps do not match.
    """

    layout: Layout
    processes: Mapping[str, Process]
    warps: Mapping[str, Power] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.processes) != set(self.layout.names) or not set(self.warps) <= set(self.layout.names):
            names = f"processes for {sorted(self.processes)} and warps for {sorted(self.warps)}"
            raise ValueError(f"{names} do not fit the parts {sorted(self.layout.names)}")
        for part in self.layout:
            self.processes[part.name].check(part)
        absorbing = {name for name, process in self.processes.items() if process.absorbing}
        object.__setattr__(self, "layout", self.layout.with_absorbing(absorbing))

    @property
    def u_min(self) -> float:
        """The lowest master time at which a network is asked: there every part is at its own ``t_min``."""
        return min(float(self._master(name, self._schedule(name).t_min)) for name in self.layout.names)

    @property
    def u_max(self) -> float:
        """The highest master time at which a network is asked: there every part is at its own ``t_max``."""
        return max(float(self._master(name, self._schedule(name).t_max)) for name in self.layout.names)

    def times(self, u: Times) -> dict[str, Array]:
        """Each part's own time at master time u, float64 of the shape of u.

        Own times are kept within the working range ``[t_min, t_max]`` of the part's schedule: a part whose range ends
        before another's waits there. Only u = 0 is 0, data.

        Raises:
            ValueError: if u lies outside [0, 1].
        """
        u = np.asarray(u, dtype=np.float64)
        if not ((u >= 0) & (u <= 1)).all():
            raise ValueError(f"times lie in [0, 1], not {u}")
        times = {}
        for name in self.layout.names:
            own = self.warps[name](u) if name in self.warps else u
            schedule = self._schedule(name)
            times[name] = np.where(u > 0, np.clip(own, schedule.t_min, schedule.t_max), 0.0)
        return times

    def master(self, part: str, log_snr: Times) -> Array:
        """The master time at which ``part`` has this log-SNR, kept within the working range of its schedule."""
        schedule = self._schedule(part)
        return self._master(part, np.clip(schedule.t_of(log_snr), schedule.t_min, schedule.t_max))

    def alpha(self, times: Mapping[str, Times]) -> dict[str, Array]:
        """Gaussian part -> alpha at its own time."""
        return {part.name: self._schedule(part.name).alpha(times[part.name]) for part in self._gaussian()}

    def sigma(self, times: Mapping[str, Times]) -> dict[str, Array]:
        """Gaussian part -> sigma at its own time."""
        return {part.name: self._schedule(part.name).sigma(times[part.name]) for part in self._gaussian()}

    def log_snr(self, times: Mapping[str, Times]) -> dict[str, Array]:
        """Part -> log-SNR at its own time; of a categorical part it is the log-odds of an untouched element."""
        return {name: self._schedule(name).log_snr(times[name]) for name in self.layout.names}

    def prior(self, noise: Noise, sizes: Mapping[str, Tensor] | None = None, draw: int = 0) -> State:
        """Pure noise, where sampling starts.

        Args:
            noise: one seed per sample, B of them; its device is that of the result.
            sizes: variable axis -> number of elements per sample, int64 ``(B,)``.
        """
        empty = State.zeros(self.layout, len(noise), sizes or {}, noise.seeds.device)
        return self._each(empty, lambda part, p, x: p.prior(part, x.shape[1:], noise, draw))

    def corrupt(self, x0: State, times: Mapping[str, Times], noise: Noise, draw: int = 0) -> State:
        """Noise clean data up to each part's own time."""
        return self._each(x0, lambda part, p, x: p.corrupt(part, x, times[part.name], noise, draw))

    def renoise(self, x_s: State, s: Mapping[str, Times], t: Mapping[str, Times], noise: Noise, draw: int = 0) -> State:
        """Noise further, each part from its own s up to its own t."""
        return self._each(x_s, lambda part, p, x: p.renoise(part, x, s[part.name], t[part.name], noise, draw))

    def bridge(
        self,
        x_t: State,
        x0: Mapping[str, Tensor],
        t: Mapping[str, Times],
        s: Mapping[str, Times],
        noise: Noise,
        draw: int = 0,
    ) -> State:
        """Denoise, each part from its own t down to its own s, given clean data (gaussian parts) or log-probabilities
        of the clean classes (categorical parts).
        """
        return self._each(
            x_t, lambda part, p, x: p.bridge(part, x, x0[part.name], t[part.name], s[part.name], noise, draw)
        )

    def config(self) -> dict[str, Any]:
        """A JSON value from which :meth:`from_config` builds the same product."""
        return {
            "parts": {name: self.processes[name].config() for name in self.layout.names},
            "warps": {name: {"name": warp.name, **asdict(warp)} for name, warp in self.warps.items()},
        }

    @classmethod
    def from_config(cls, layout: Layout, config: Mapping[str, Any]) -> Product:
        """The inverse of :meth:`config`.

        Raises:
            UserError: for the unknown name or option of a process, a schedule, a kernel or a warp.
        """
        processes, warps = {}, {}
        for part, entry in config["parts"].items():
            made, where = get_registry().load("process", entry["name"]), f"process of part {part!r}"
            options = {key: value for key, value in entry.items() if key != "name"}
            check_options(where, made, options, ())
            check_complete(where, made, options)
            processes[part] = made.from_config(entry)
        for part, entry in config.get("warps", {}).items():
            arguments = {key: value for key, value in entry.items() if key != "name"}
            if entry.get("name") not in WARPS:
                raise UserError(f"there is no warp {entry.get('name')!r}", f"choose one of: {', '.join(sorted(WARPS))}")
            check_options(f"warp of part {part!r}", WARPS[entry["name"]], arguments, ())
            warps[part] = WARPS[entry["name"]](**arguments)
        return cls(layout, processes, warps)

    def _each(self, state: State, fn: Callable[[Part, Process, Tensor], Tensor]) -> State:
        return state.with_layout(self.layout).map(lambda part, x: fn(part, self.processes[part.name], x)).project()

    def _gaussian(self) -> list[Part]:
        return [part for part in self.layout if part.kind == "gaussian"]

    def _schedule(self, part: str) -> Schedule:
        return self.processes[part].schedule

    def _master(self, part: str, t: Times) -> Array:
        return self.warps[part].inverse(t) if part in self.warps else np.asarray(t, dtype=np.float64)
