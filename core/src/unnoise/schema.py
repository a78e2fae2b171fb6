"""Every key of a run's configuration, with its default.

A *component* node is ``{"name": X, **options}``: ``X`` is a registered name and the options are those of the registered
class, whose signature is their schema (see :meth:`unnoise.plugins.registry.Registry.build`). All other keys are the
fields below; an unknown one is an error.
"""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from unnoise.errors import UserError

MISSING: Any = "???"
"""What OmegaConf takes for a key that must be given."""
LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class Between:
    """The finite numbers from ``low`` to ``high``, both included, that are also more than ``above`` and less than
    ``under``.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    under: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and self.above < value < self.under

    def __str__(self) -> str:
        limits = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.under}
        given = [f"{words} {limit:,}" for words, limit in limits.items() if math.isfinite(limit)]
        return " and ".join(given) or "a finite number"


def ranged(default: Any, *bounds: float, **limits: float) -> Any:
    """A field whose number lies in ``Between(*bounds, **limits)``, or is empty."""
    return field(default=default, metadata={"range": Between(*bounds, **limits)})


def range_of(entry: Field[Any]) -> Between | None:
    """The range that :func:`ranged` gave a field."""
    found: Between | None = entry.metadata.get("range")
    return found


def check_numbers(config: Any, prefix: str = "") -> None:
    """Hold the numbers of a config, and of the sections inside of it, against the ranges of its fields.

    Raises:
        UserError: naming the key.
    """
    for entry in fields(config):
        value, allowed = getattr(config, entry.name), range_of(entry)
        if is_dataclass(value):
            check_numbers(value, f"{prefix}{entry.name}.")
        elif allowed is not None and value is not None and value not in allowed:
            raise UserError(f"{prefix}{entry.name} is {value}", f"It must be {allowed}.")


@dataclass
class EmaConfig:
    """The exponential moving average of the weights that is sampled from."""

    decay: float = ranged(0.999, 0, under=1)
    """Share of the old average kept at each step, once warmed up; 0 turns averaging off."""
    warmup: bool = True
    """Start with a short memory: decay at step n is ``min(decay, (1 + n) / (10 + n))``."""
    lengths: list[float] = field(default_factory=list)
    """Lengths of further, power-function averages, as shares of the run ([0.05, 0.1]), from whose snapshots averages of
    any length can be made afterwards: ``ema=0.07`` of ``unnoise sample`` and ``eval``. Empty keeps none."""
    snapshot_every: int = ranged(0, 0)
    """Steps between snapshots of those; 0 takes one with every checkpoint."""


@dataclass
class TrainConfig:
    """How a network is trained. Used for both stages; a codec's own values stand under ``codec.train``."""

    steps: int = ranged(10_000, 0)
    """Optimiser steps of the whole run."""
    minutes: float | None = ranged(None, 0)
    """Stop after so many minutes, encoding included, if the steps are not done by then; the learning rate then decays
    against the clock. Unlimited if empty."""
    batch: int = ranged(64, 1, 1 << 24)
    """Items per optimiser step."""
    accumulate: int = ranged(1, 1, 1 << 24)
    """In how many pieces a batch is computed, to save memory; changes no result beyond rounding, except which units a
    network's own dropout hides."""
    optimizer: str = "adamw"
    """"adamw", or "muon" (matrices by Muon, the rest by AdamW)."""
    lr: float = ranged(1e-3, 0)
    weight_decay: float = ranged(0.01, 0)
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    warmup: int = ranged(200, 0)
    """Steps over which the learning rate rises linearly from 0."""
    decay: float = ranged(0.3, 0, 1)
    """Last share of the run over which the learning rate falls, in [0, 1]; 0 keeps it constant."""
    decay_shape: str = "cosine"
    """"cosine" or "linear"."""
    clip: float = ranged(1.0, 0)
    """Largest norm of the gradient; 0 turns clipping off."""
    ema: EmaConfig = field(default_factory=EmaConfig)
    time_sampling: dict[str, Any] = field(default_factory=lambda: {"name": "uniform"})
    """How training times are drawn: ``{name: uniform|logit_normal|edm, ...}``; ``independent`` and ``known`` are the
    shares of samples whose elements have times of their own (:class:`unnoise.training.elements.ElementTimes`)."""
    pairing: dict[str, Any] = field(default_factory=lambda: {"name": "independent"})
    """Which noise goes with which element of a set without order: ``{name: independent|transport, rounds}``
    (:class:`unnoise.training.pairing.Pairing`)."""
    weighting: dict[str, Any] = field(default_factory=lambda: {"name": "uniform"})
    """Weight of the loss as a function of log-SNR: ``{name: uniform|min_snr|edm|learned, ...}``."""
    part_weights: dict[str, float] = field(default_factory=dict)
    """Factor on the loss of a part; 1 where not given."""
    self_conditioning: float = ranged(0.5, 0, 1)
    """Share of training samples for which a network that can use it is shown its own earlier estimate (Chen et al.
    2022); 0 turns it off in sampling too."""
    log_every: int = ranged(50, 1)
    """Steps between lines of ``metrics.jsonl`` and calls of ``unnoise_train_step``."""
    checkpoint_every: int = ranged(1000, 0)
    """Steps between checkpoints; one is always written at the end."""
    preview_every: int = ranged(0, 0)
    """Steps between sample previews; 0 draws one at the end only."""
    keep: int = ranged(2, 0)
    """How many of the last checkpoints stay on disk; the very last always does."""
    keep_every: int = ranged(0, 0)
    """Checkpoints of steps that this divides stay for ever; 0 means none."""
    keep_best: str = ""
    """A metric of ``metrics.jsonl`` ("loss", "error/x"): the checkpoint before which it was lowest stays too, judged by
    the last line before each checkpoint."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1"."""
    precision: str = "auto"
    """"fp32", "bf16", or "auto" (bf16 on GPUs that have it and on CPUs with AMX or AVX-512 BF16); weights are kept in
    fp32."""
    threads: int = ranged(0, 0, 4096)
    """CPU threads; 0 leaves torch's choice."""
    compile: bool = False
    """Run the network through ``torch.compile``."""


@dataclass
class SampleConfig:
    """How samples are made; recorded in the run as what ``unnoise sample`` and previews start from."""

    sampler: str = "adams"
    steps: int = ranged(50, 1, 10_000)
    """Steps executed."""
    sampler_options: dict[str, Any] = field(default_factory=dict)
    """Of the sampler above, e.g. ``{eta: 0.5}`` of ddim."""
    categorical: dict[str, Any] = field(default_factory=lambda: {"name": "bridge"})
    """How categorical parts come down: ``{name: bridge|tau_leap|confidence, sharpness: [1, 1], ...}``."""
    spacing: str = "quadratic"
    """Where the steps lie between noise and data: quadratic, bounded, linear, log_snr, karras, ..."""
    spacing_options: dict[str, Any] = field(default_factory=dict)
    """Of the spacing above, e.g. ``{rho: 5}`` of karras."""
    guidance: dict[str, Any] = field(default_factory=lambda: {"name": "cfg", "scale": 1.0})
    """Component. A scale of 1 is off and costs one evaluation a row."""
    n: int = ranged(16, 0, 1 << 24)
    """Number of samples."""
    batch: int = ranged(64, 1, 1 << 20)
    """Samples computed at once; changes no sample."""


@dataclass
class ConditionsConfig:
    """What the model may be told: columns of the data set, by name."""

    use: list[str] = field(default_factory=list)
    """Names of columns ("class", "logp"). Empty: an unconditional model."""
    dim: int = ranged(128, 1, 1 << 16)
    """Width of the embedded condition."""
    dropout: float = ranged(0.1, 0, 1)
    """Share of training samples whose condition is hidden, which classifier-free guidance needs."""
    tokens: bool = False
    """Also offer every condition as a token for cross-attention, and a text as a token for every piece of it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Name of a condition -> its options: ``options.text.encoder=minilm``."""
    maps: dict[str, Any] = field(default_factory=dict)
    """Name of a map -> component that makes it of items, with its options; the registered one of that name if left
    out. ``{outline: {name: edges, sigma: 2}}``."""


@dataclass
class ControlConfig:
    """A control: what it is trained for, and how its training is watched."""

    base: str | None = None
    """Run folder of the model, or a checkpoint's folder inside of one. It stays as it is."""
    map: str = ""
    """Name of the map or curve that is to be followed: a column of the data, or a map that can be made of items."""
    blocks: int | None = ranged(None, 1, 10_000)
    """How many blocks of a transformer are copied; half of them if empty. A U-Net's way down is copied as a whole."""
    dropout: float = ranged(0.1, 0, 1)
    """Share of training samples whose map is hidden."""
    judge_every: int = ranged(0, 0)
    """Steps between lines of ``metrics.jsonl`` that say how well samples follow held-out maps, as the loss does not
    show it; a multiple of ``train.log_every``. 0 never looks."""
    judged: int = ranged(32, 1, 1 << 16)
    """Samples that are judged then."""


@dataclass
class RunConfig:
    """A training run, complete."""

    modality: str = MISSING
    """Registered modality, for messages and look-ups; set by the modality's own yaml."""
    stage: str = "diffusion"
    """"diffusion"; "codec" to train the codec alone; "control" to train a control of ``control.base``."""
    seed: int = ranged(0, 0, LARGEST_SEED)
    run: str | None = None
    """Run folder; ``runs/<modality>-<date>-<time>`` if empty."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""
    data: dict[str, Any] = field(default_factory=dict)
    """Component: a data set."""
    representation: dict[str, Any] = field(default_factory=dict)
    """Component: items <-> states."""
    codec: dict[str, Any] = field(default_factory=dict)
    """Component: a trained part of the representation, if it needs one. Beside its options it may
    hold ``run``, the folder of a finished codec run (empty: train one first, inside this run's folder), and ``train``,
    what differs from the section ``train`` meanwhile."""
    denoiser: dict[str, Any] = field(default_factory=dict)
    """Component: the network."""
    process: dict[str, Any] = field(default_factory=dict)
    """Part name, or ``"*"`` for every part not named, -> component: a noising process, with ``schedule`` (component),
    ``parametrization`` and, for categorical parts, ``kernel``."""
    conditions: ConditionsConfig = field(default_factory=ConditionsConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    extra: dict[str, Any] = field(default_factory=dict)
    """Free space for a user's own values; nothing reads it."""


@dataclass
class SamplingRequest:
    """What ``unnoise sample`` and ``unnoise eval`` both ask for. What is empty here is taken from the run's own
    ``sample`` section.
    """

    run: str | None = None
    """Run folder, or a checkpoint folder inside one."""
    n: int | None = ranged(None, 1, 1 << 24)
    """Number of samples; of an evaluation of ``items``, the first so many (all if empty)."""
    seed: int = ranged(0, 0, LARGEST_SEED)
    """Sample i uses seed + i."""
    sampler: str | None = None
    steps: int | None = None
    sampler_options: dict[str, Any] = field(default_factory=dict)
    """Options of the sampler, e.g. ``sampler_options.eta=0.5`` of ddim."""
    categorical: dict[str, Any] = field(default_factory=dict)
    """How categorical parts come down, e.g. ``categorical.name=tau_leap categorical.eta=1``."""
    spacing: str | None = None
    spacing_options: dict[str, Any] = field(default_factory=dict)
    """Options of the spacing, e.g. ``spacing_options.rho=5`` of karras."""
    guidance: dict[str, Any] = field(default_factory=lambda: {"scale": None})
    """``scale``, and what else the guidance takes: ``name``, ``rescale``, ``interval``, ``threshold``, ``stop``, ..."""
    condition: Any = None
    """``condition.<name>=<value>``, or just a value where the model knows one condition. An evaluation that names none
    follows the distribution of the training data."""
    control: Any = None
    """``control.run=<run of a control>``, ``control.map=<file>`` (or ``control.of=<item>``, of which the map is made),
    ``control.strength``, ``control.interval`` (log-SNRs). Of several controls each has a name of its own:
    ``control.a.run=...``."""
    batch: int | None = ranged(None, 1, 1 << 20)
    ema: float | None = ranged(None, 0, 0.2887)
    """Length of the average that is sampled from, as a share of the run, where ``train.ema.lengths`` kept snapshots;
    the usual average if empty."""
    out: str | None = None
    """Folder for the files; if empty, ``<run>/samples/<date>-<time>`` or ``<run>/eval/<date>-<time>``, and nothing is
    written of an evaluation of ``items``."""
    device: str = "auto"
    threads: int = ranged(0, 0, 4096)


@dataclass
class SampleRequest(SamplingRequest):
    """The keys of ``unnoise sample``."""

    negative: Any = None
    """As ``condition``: what to be steered away from."""


@dataclass
class EditRequest(SampleRequest):
    """The keys of ``unnoise edit <kind>``; what is empty here is the kind's own default."""

    kind: str = MISSING
    """"variation", "infill", "interpolate", "invert" or "compose"."""
    source: str | None = None
    """A file or folder of items, which the plugin reads."""
    strength: float | None = ranged(None, 0, 1)
    """Time up to which a source is noised: 0 gives it back, 1 is sampling anew."""
    mask: Any = None
    """What is made anew: text in the plugin's own words, or a file that it reads."""
    level: float | None = ranged(None, 0, 1)
    """Time at which an infill shows what is kept as a whole."""
    seeds: list[int] | None = None
    """Two seeds to interpolate between, in place of a source."""
    other: Any = None
    """As ``condition``: what holds where ``mask`` says, in a composition."""


@dataclass
class EvalRequest(SamplingRequest):
    """The keys of ``unnoise eval``: judge a run's samples, or items somebody else made."""

    modality: str | None = None
    """With ``items``: whose they are."""
    items: str | None = None
    """A file or folder of items to judge instead of a run's samples."""
    data: Any = None
    """Component: the real data to compare with; the run's own, or the modality's default."""
    metrics: list[str] = field(default_factory=list)
    """Which metrics; all of the modality's if empty."""
    split: str = "train"
    """Where no condition is named, whose conditions samples are asked for: "train" or "test", such as no training item
    had."""
    samples: bool = False
    """Also write the samples there, as ``unnoise sample`` does."""
