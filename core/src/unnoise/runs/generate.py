"""Samples of a trained model: any number, the same whatever the batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unnoise.conditions import Raw
from unnoise.conditions.maps import is_digest
from unnoise.contracts import Representation, Samples
from unnoise.denoiser import Denoiser
from unnoise.errors import UserError
from unnoise.noise import Noise
from unnoise.plugins.registry import get_registry
from unnoise.runs.manifest import Manifest
from unnoise.runs.measured import with_maps_read
from unnoise.runs.recipe import Beginning, Recipe, draw
from unnoise.runs.run import Run
from unnoise.sampling import Known, Plan, plan
from unnoise.schema import SampleConfig
from unnoise.training.checkpoint import Checkpoint
from unnoise.writing import write_json, writing

Sizes = int | list[int] | Mapping[str, int | list[int]]


@dataclass
class Model:
    """A trained model; see :func:`unnoise.load`.

    Args:
        run: where it is from.
        representation: items <-> states, fitted.
        denoiser: with the weights to sample from, on its device.
        checkpoint: whose weights they are; None during training.
        ema: length of the average that they are, where it was chosen afterwards.
    """

    run: Run
    representation: Representation
    denoiser: Denoiser
    checkpoint: Checkpoint | None = None
    ema: float | None = None

    @cached_property
    def manifest(self) -> Manifest:
        """The run's, as it was when first asked for."""
        return self.run.manifest

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @cached_property
    def defaults(self) -> SampleConfig:
        """How the run wants to be sampled; a key that it was trained before is at its default."""
        return SampleConfig(**self.manifest.config["sample"])

    @property
    def known_level(self) -> float | None:
        """The time at which elements that are known as a whole are best shown (:attr:`unnoise.sampling.Known.level`): 0
        for a model that was trained with levels of its elements; None for the others.
        """
        sampling = self.manifest.config["train"]["time_sampling"]
        return 0.0 if sampling.get("known") or sampling.get("independent") else None

    def plan(
        self,
        sampler: str | None = None,
        steps: int | None = None,
        spacing: str | Mapping[str, Any] | None = None,
        categorical: str | Mapping[str, Any] | None = None,
        start: float = 1.0,
        **options: Any,
    ) -> Plan:
        """The plan of a sampling run, see :func:`unnoise.plan`; what is left out is the run's own choice."""
        own = self.defaults
        steps = own.steps if steps is None else steps
        options = self._sampler_options(sampler, options)
        descent, product = _asked(own.categorical, categorical), self.denoiser.product
        return plan(sampler or own.sampler, product, steps, self._spacing(spacing), start, 0.0, descent, **options)

    def _spacing(self, given: str | Mapping[str, Any] | None) -> dict[str, Any]:
        return _asked({"name": self.defaults.spacing, **self.defaults.spacing_options}, given)

    def _sampler_options(self, sampler: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """The run's own options belong to its own sampler."""
        own = self.defaults
        return {**(own.sampler_options if sampler in (None, own.sampler) else {}), **given}

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        spacing: str | Mapping[str, Any] | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        categorical: str | Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        guidance: Mapping[str, Any] | None = None,
        condition: Any = None,
        negative: Any = None,
        raw: Raw | None = None,
        control: Any = None,
        batch: int | None = None,
        sizes: Sizes | None = None,
        known: Known | None = None,
        progress: bool = True,
    ) -> Samples:
        """Make samples. What is left out is the run's own choice, stored when it was trained.

        Args:
            n: how many.
            seed: sample i uses ``seed + i``, and depends on nothing else of the call's size.
            sampler, steps, spacing, sampler_options, categorical: see :func:`unnoise.plan`.
            guidance_scale: short for ``guidance={"scale": ...}``; 1 is off.
            guidance: ``{"name": ..., **options}`` of a registered guidance, "cfg" if it has no name; and keys of its
                modifiers (:data:`unnoise.guidance.build.MODIFIERS`). ``weak`` of "auto" is a run, a checkpoint, or
                ``{"run": ..., "ema": ...}``.
            condition: ``{name: value or list}``, or a bare value where the model knows one condition. A list is
                repeated to fill n. A curve is a list itself.
            negative: likewise, what to steer away from.
            raw: raw conditions ``(n,)``, of curves ``(n, K)``, of maps ``(n, *points, channels)``, instead of
                ``condition``.
            control: ``{"run": ..., "map": ...}`` of a control, or several (:func:`unnoise.runs.controls.acting`).
            batch: samples computed at once.
            sizes: elements on the variable axes: one number, a list of n, or either per axis; if left out, what the
                conditions ask for, or else drawn.
            known: clean values that the n samples shall have, a state of n items; their sizes are its own.
            progress: show a progress bar.

        Raises:
            UserError: if a name or value does not exist, or a condition could have no effect.
        """
        recipe = self.recipe(
            n, seed, sampler=sampler, steps=steps, spacing=spacing, sampler_options=sampler_options,
            categorical=categorical, guidance_scale=guidance_scale, guidance=guidance, condition=condition,
            negative=negative, raw=raw, control=control, batch=batch,
        )  # fmt: skip
        if known is not None and known.clean.batch != recipe.n:
            message = f"{recipe.n} samples, but {known.clean.batch} are known"
            raise UserError(message, "Give what is known of every sample.")

        def start(noise: Noise, rows: slice) -> Beginning:
            held = None if known is None else known[rows].to(self.device)
            counts = self.sizes(noise, sizes, recipe.given, rows) if held is None else held.clean.sizes
            x_T = self.denoiser.product.prior(noise.to(self.device), counts)
            if held is not None:
                x_T = x_T.resize({axis: mask.shape[1] for axis, mask in held.clean.masks.items()})
            return Beginning(x_T, held)

        return draw(self, recipe, start, progress)

    def edit(self, kind: str, source: Any = None, **options: Any) -> Samples:
        """Make something of items that are there, or of several conditions or seeds at once.

        Args:
            kind: one of :data:`unnoise.edits.KINDS`: "variation", "infill", "interpolate", "invert", "compose".
            source: items, or a path to files of them that the plugin reads; what it means says the kind.
            options: of the kind (:mod:`unnoise.edits`), and those of :meth:`sample`.

        Raises:
            UserError: for an unknown kind or option, or a source that the model cannot represent.
        """
        from unnoise.edits import edit

        return edit(self, kind, source, **options)

    def recipe(
        self,
        n: int | None = None,
        seed: int = 0,
        *,
        sampler: str | None = None,
        steps: int | None = None,
        spacing: str | Mapping[str, Any] | None = None,
        sampler_options: Mapping[str, Any] | None = None,
        categorical: str | Mapping[str, Any] | None = None,
        guidance_scale: float | None = None,
        guidance: Mapping[str, Any] | None = None,
        condition: Any = None,
        negative: Any = None,
        raw: Raw | None = None,
        control: Any = None,
        batch: int | None = None,
        start: float = 1.0,
    ) -> Recipe:
        """What a call asks for, with every choice made; arguments as for :meth:`sample`.

        Args:
            start: the time at which sampling starts; 1 is noise.

        Raises:
            UserError: as :meth:`sample`.
        """
        own = self.defaults
        n, batch = own.n if n is None else n, batch or own.batch
        if n < 0 or batch < 1:
            raise UserError(f"n is {n} and batch {batch}", "There are no fewer than 0 samples, and 1 in a batch.")
        options = _asked({"name": "cfg", **own.guidance}, guidance) if guidance else dict(own.guidance)
        if guidance_scale is not None:
            options["scale"] = guidance_scale
        conditions = self.denoiser.conditions
        given = conditions.parse(self.with_maps(condition), n) if raw is None else conditions.checked(raw, n)
        against = conditions.parse(self.with_maps(negative), n)
        asked = guidance_scale is not None or bool(guidance)
        options = self._checked_guidance(options, asked, bool(given), bool(against))
        sampler_options = self._sampler_options(sampler, sampler_options or {})
        chosen = self.plan(sampler, steps, spacing, categorical, start=start, **sampler_options)
        weak, weights = self._weak(options)
        from unnoise.runs.controls import acting

        controls, said = acting(self, control, n)
        return Recipe(
            n, seed, batch, chosen, options, given, against, weak, weights, self._spacing(spacing), sampler_options,
            extra={"control": said} if said else {}, controls=controls,
        )  # fmt: skip

    def with_maps(self, asked: Any) -> Any:
        """What a user wrote of conditions, with the maps among them as arrays instead of files."""
        conditions = [self.denoiser.conditions[name] for name in self.denoiser.conditions.names]
        return with_maps_read(get_registry(), self.manifest.config, conditions, asked)

    def _weak(self, options: Mapping[str, Any]) -> tuple[Denoiser | None, dict[str, Any] | None]:
        """The weaker model that a guidance names, and its weights."""
        if (asked := options.get("weak")) is None:
            return None, None
        from unnoise.runs.load import load

        where = dict(asked) if isinstance(asked, Mapping) else {"run": asked}
        own = self.run.folder if self.checkpoint is None else self.checkpoint.path
        if not set(where) <= {"run", "ema"}:
            raise UserError(f"guidance.weak={where}", "a run or checkpoint, or guidance.weak.run and guidance.weak.ema")
        other = load(where.get("run") or own, str(self.device), ema=where.get("ema"))
        if other.denoiser.product.config() != self.denoiser.product.config():
            message = f"guidance.weak={asked} is a model of other data, or with other noise"
            raise UserError(message, "Name a run of the same experiment, or an earlier checkpoint of this one.")
        return other.denoiser, other.weights

    def _checked_guidance(self, options: dict[str, Any], asked: bool, given: bool, against: bool) -> dict[str, Any]:
        """Guidance options that have an effect; the run's own are put aside where there is nothing to guide by."""
        scales = [options.get("scale", 1.0), *(options.get("scales") or {}).values()]
        name = options.get("name", "cfg")
        if name == "cfg_pp" or not get_registry().load("guidance", name).needs_condition:
            return options
        off = all(scale == 1 for scale in scales)
        if off and against:
            message = "a negative condition has no effect at guidance.scale=1, which is off"
            raise UserError(message, "Set guidance.scale above 1.")
        if not off and not given and not against:
            if asked:
                names = ", ".join(self.denoiser.conditions.names)
                fix = f"Give a condition: {names}." if names else "Leave it out: the model is unconditional."
                raise UserError(f"guidance.scale={scales[0]} has nothing to guide by", fix)
            return {**options, "scale": 1.0}
        return options

    def sizes(self, noise: Noise, sizes: Sizes | None, given: Raw, rows: slice) -> dict[str, Tensor]:
        """Elements on every variable axis, int64 ``(B,)``, for the samples ``rows`` of the call."""
        axes = self.representation.layout.variable_axes
        if sizes is None:
            drawn = self.representation.sizes(noise)
            asked = {name: value[rows] for name, value in given.items()}
            return self.representation.asked_sizes(drawn, asked, noise)
        if not isinstance(sizes, Mapping):
            sizes = dict.fromkeys(axes, sizes)
        if set(sizes) != set(axes):
            fix = f"The axes that vary in size are: {', '.join(axes) or 'none'}"
            raise UserError(f"sizes are given for {', '.join(sizes) or 'nothing'}", fix)
        drawn = {}
        for axis, value in sizes.items():
            values = torch.full((rows.stop,), value) if isinstance(value, int) else torch.as_tensor(value)
            if len(values) < rows.stop or int(values.min()) < 0:
                fix = "Give one number, or one for each sample; none below 0."
                raise UserError(f"sizes of axis {axis!r}: {value}", fix)
            drawn[axis] = values[rows].to(torch.int64)
        return drawn

    @property
    def weights(self) -> dict[str, Any] | None:
        """Whose weights these are, as records say; None during training."""
        if self.checkpoint is None:
            return None
        digest = self.checkpoint.state["sha256"]["ema.safetensors"]
        return {"step": self.checkpoint.step, "sha256": digest, **({} if self.ema is None else {"ema": self.ema})}


def write_samples(samples: Samples, representation: Representation, folder: str | Path) -> list[Path]:
    """Write native files, ``preview.png`` and ``record.json`` into a folder; the same bytes for the same samples.

    Raises:
        UserError: if they cannot be written.
    """
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        written = representation.save(samples.items, folder, samples.record)
        representation.preview(samples.items, folder / "preview.png", captions(samples.record))
    write_json(folder / "record.json", samples.record)
    return [*written, folder / "preview.png", folder / "record.json"]


def _asked(own: Mapping[str, Any], given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Name and options of a component: what is given, and of the run's own what belongs to that name."""
    asked = {"name": given} if isinstance(given, str) else dict(given or {})
    name = own.get("name")  # a config that somebody has edited may lack it
    return {**own, **asked} if asked.get("name", name) == name else asked


def captions(record: Mapping[str, Any]) -> list[str]:
    """What each sample of a record was asked to be, as text; empty if none was asked for anything."""
    asked: Mapping[str, Any] = record["condition"]
    columns = {name: v if isinstance(v, list) else [v] for name, v in asked.items()}
    lines = [{name: column[i % len(column)] for name, column in columns.items()} for i in range(record["n"])]
    texts = [
        ", ".join(_caption(name, v, len(line)) for name, v in line.items() if v is not None and not is_digest(v))
        for line in lines
    ]
    return texts if any(texts) else []


def _caption(name: str, value: Any, conditions: int) -> str:
    if isinstance(value, list):  # a curve, by its ends
        ends = [x for x in value if x is not None]
        text = f"{ends[0]:.3g} to {ends[-1]:.3g}"
    else:
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if conditions == 1 else f"{name} {text}"
