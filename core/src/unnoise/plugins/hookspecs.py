"""The hooks a plugin may implement.

A plugin is a module named by an entry point of group ``unnoise``. It states ``UNNOISE_API = (1, 0)`` and marks its
hooks with :data:`hookimpl`; importing it must be cheap, so it holds references (:class:`~unnoise.plugins.specs.Spec`)
and imports nothing heavy. Its yaml files are found through an entry point of group ``unnoise.configs``.

Registration hooks are called once, when the registry is built; run hooks by the training loop, never within a step.
A new argument of a hook is a minor change of the API, as implementations may take fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from unnoise.plugins.specs import Finding, Kind, Modality, Spec

if TYPE_CHECKING:
    from unnoise.runs import Run

API_VERSION = (1, 0)
"""(major, minor). A plugin fits if its major is equal and its minor not larger."""

hookspec = pluggy.HookspecMarker("unnoise")
hookimpl = pluggy.HookimplMarker("unnoise")

REGISTRATION_HOOKS: dict[str, Kind] = {
    "unnoise_modalities": "modality",
    "unnoise_representations": "representation",
    "unnoise_codecs": "codec",
    "unnoise_denoisers": "denoiser",
    "unnoise_datasets": "dataset",
    "unnoise_conditions": "condition",
    "unnoise_maps": "map",
    "unnoise_metrics": "metric",
    "unnoise_processes": "process",
    "unnoise_schedules": "schedule",
    "unnoise_samplers": "sampler",
    "unnoise_guidances": "guidance",
}
"""Hook -> the kind of component it registers."""


class HookSpecs:
    """The specifications; read them as documentation."""

    @hookspec
    def unnoise_modalities(self) -> Iterable[Modality]:  # type: ignore[empty-body]
        """Kinds of data."""

    @hookspec
    def unnoise_representations(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.Representation`."""

    @hookspec
    def unnoise_codecs(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.Codec`."""

    @hookspec
    def unnoise_denoisers(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.Network`."""

    @hookspec
    def unnoise_datasets(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.Dataset`."""

    @hookspec
    def unnoise_conditions(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.conditions.Condition`."""

    @hookspec
    def unnoise_maps(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.MapMaker`."""

    @hookspec
    def unnoise_metrics(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Subclasses of :class:`unnoise.contracts.Metric`."""

    @hookspec
    def unnoise_processes(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Noising processes of one part; see :mod:`unnoise.processes`."""

    @hookspec
    def unnoise_schedules(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Functions ``(**options) -> Schedule``; see :mod:`unnoise.schedules`."""

    @hookspec
    def unnoise_samplers(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Functions ``(schedule, grid, **options) -> rows``; see :mod:`unnoise.sampling.samplers`."""

    @hookspec
    def unnoise_guidances(self) -> Iterable[Spec]:  # type: ignore[empty-body]
        """Guidance classes; see :mod:`unnoise.guidance`."""

    @hookspec
    def unnoise_run_start(self, run: Run) -> None:
        """A training run is about to take its first step, new or resumed."""

    @hookspec
    def unnoise_train_step(self, run: Run, step: int, metrics: Mapping[str, float]) -> None:
        """``metrics`` were logged at ``step``; called every ``train.log_every`` steps."""

    @hookspec
    def unnoise_checkpoint_saved(self, run: Run, path: Path) -> None:
        """A checkpoint is complete on disk."""

    @hookspec
    def unnoise_run_end(self, run: Run, error: BaseException | None) -> None:
        """A training run ended: finished (``error`` is None), interrupted or failed."""

    @hookspec
    def unnoise_doctor(self) -> Iterable[Finding]:  # type: ignore[empty-body]
        """What this plugin needs of the machine, and whether it is there (optional packages, fonts, data sets)."""


HOOK_NAMES = tuple(name for name in vars(HookSpecs) if name.startswith("unnoise_"))
