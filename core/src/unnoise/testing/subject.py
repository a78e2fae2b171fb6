"""A modality made small, for the conformance checks: a few items, and a network with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unnoise.cli.compose import compose
from unnoise.conditions import Conditions
from unnoise.contracts import Codec, Dataset, Representation
from unnoise.denoiser import Denoiser
from unnoise.noise import Noise
from unnoise.plugins.discovery import PluginState
from unnoise.plugins.registry import Registry, get_registry
from unnoise.plugins.specs import Spec
from unnoise.runs.build import (
    Assembly,
    build_codec,
    build_dataset,
    build_representation,
    measured_processes,
    needs_codec,
)
from unnoise.runs.generate import Model
from unnoise.runs.manifest import Manifest
from unnoise.runs.measured import columns_of
from unnoise.runs.run import Run
from unnoise.schema import RunConfig
from unnoise.state import State
from unnoise.training.data import Columns, EncodedData, Items, Selection
from unnoise.training.tasks import Diffusion
from unnoise.training.trainer import Trainer

FITTED_ITEMS = 512
"""The representation measures so many training items."""
ITEMS = 12
"""So many are encoded, trained on and compared."""
STEPS = 4
"""Steps of sampling, where nothing asks for more."""


@dataclass
class Subject:
    """What a check looks at. Everything is made on first use, from the modality's own default config.

    Args:
        name: of the modality.
        words: overrides, as on the command line.
        folder: where files may be written.
    """

    name: str
    folder: Path
    words: Sequence[str] = ()
    registry: Registry = field(default_factory=get_registry)

    @cached_property
    def config(self) -> RunConfig:
        config = compose("train", [f"modality={self.name}", *self.words])
        assert isinstance(config, RunConfig)
        return config

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The config as plain values."""
        return asdict(self.config)

    @cached_property
    def plugin(self) -> PluginState:
        """The plugin that brings the modality."""
        return self.registry.find("modality", self.name)[0]

    @cached_property
    def packages(self) -> frozenset[str]:
        """Top-level packages of the plugin's code; ready-made parts that it registers are the engine's."""
        refs = [self.plugin.ref, *(spec.ref for _, spec in self.plugin.specs if isinstance(spec, Spec))]
        return frozenset(ref.partition(":")[0].partition(".")[0] for ref in refs) - {"unnoise"}

    @cached_property
    def data(self) -> Dataset:
        return build_dataset(self.registry, self.plain, "train")

    @cached_property
    def codec(self) -> Codec | None:
        """The representation's codec with random weights, if it needs one."""
        if not needs_codec(self.registry, self.plain):
            return None
        torch.manual_seed(0)
        codec = build_codec(self.registry, self.plain)
        codec.fit(Items(self.data)[:FITTED_ITEMS])
        return codec

    def new_representation(self) -> Representation:
        """A representation that was neither fitted nor restored."""
        return build_representation(self.registry, self.plain, self.codec)

    @cached_property
    def representation(self) -> Representation:
        """Fitted."""
        made = self.new_representation()
        made.fit(Items(self.data)[:FITTED_ITEMS])
        return made.eval()

    @cached_property
    def chosen(self) -> list[int]:
        """Positions in the data set of the items that the checks use."""
        found = Selection.of(_First(self.data, FITTED_ITEMS), self.representation).index
        return found[:: max(1, len(found) // ITEMS)][:ITEMS]

    @cached_property
    def items(self) -> list[Any]:
        return [self.data[i] for i in self.chosen]

    @torch.no_grad()
    def encode(self, items: Sequence[Any], representation: Representation | None = None) -> State:
        return (representation or self.representation).encode(items)

    @torch.no_grad()
    def decode(self, state: State, representation: Representation | None = None) -> list[Any]:
        return (representation or self.representation).decode(state)

    @cached_property
    def state(self) -> State:
        """The items, encoded."""
        return self.encode(self.items)

    @cached_property
    def conditions(self) -> dict[str, Tensor]:
        """Raw conditions of the items."""
        columns = Columns(columns_of(self.registry, self.plain, self.data), self.chosen)
        known = self.denoiser.conditions
        return {name: known[name].raw(columns[name]) for name in known.names}

    @cached_property
    def manifest(self) -> Manifest:
        encoded = EncodedData(self.state)
        known = columns_of(self.registry, self.plain, self.data)
        columns = Columns(known, range(min(len(self.data), FITTED_ITEMS)))
        use = self.config.conditions
        processes, parametrizations = measured_processes(self.config, self.representation.layout, encoded)
        return Manifest(
            config=self.plain,
            versions={},
            settings=self.representation.settings(),
            codec=None if self.codec is None else self.codec.settings(),
            layout=self.representation.layout.to_json(),
            processes=processes,
            parametrizations=parametrizations,
            conditions=Conditions.from_columns(columns, use.use, use.dim, use.tokens, use.options).config(),
        )

    def assemble(self) -> Assembly:
        """The model that the manifest describes, with the representation's statistics. Weights are random throughout:
        a fresh network often ends in zeros, and would hide what it does to its input.
        """
        torch.manual_seed(0)
        parts = Assembly(self.registry, self.manifest)
        with torch.no_grad():
            for p in parts.denoiser.parameters():
                p.add_(0.05 * torch.randn(p.shape))
        parts.representation.load_state_dict(self.representation.state_dict())
        return parts.eval()

    @cached_property
    def assembly(self) -> Assembly:
        return self.assemble()

    @property
    def denoiser(self) -> Denoiser:
        return self.assembly.denoiser

    @property
    def model(self) -> Model:
        """What :func:`unnoise.load` would give."""
        run = Run(self.folder)
        if not run.manifest_path.exists():
            self.manifest.save(run.manifest_path)
        return Model(run, self.assembly.representation, self.denoiser)

    def trainer(self, folder: Path, steps: int, **options: Any) -> Trainer:
        """A trainer on the items, for a fresh network."""
        fixed = {"minutes": None, "device": "cpu", "precision": "fp32", "checkpoint_every": 0}  # alike on any machine
        train = replace(self.config.train, steps=steps, **{**fixed, **options})
        folder.mkdir(parents=True)
        torch.manual_seed(0)
        parts = Assembly(self.registry, self.manifest)
        parts.representation.load_state_dict(self.representation.state_dict())
        encoded = EncodedData(self.state, self.conditions)
        task = Diffusion(parts.representation, parts.denoiser, encoded, train, self.config.conditions, seed=0)
        return Trainer(task, train, seed=0, folder=folder)

    @cached_property
    def run_folder(self) -> Path:
        """A run of two steps."""
        folder = self.folder / "run"
        self.trainer(folder, steps=2, batch=len(self.items), log_every=1).run()
        self.manifest.save(folder / "manifest.json")
        return folder

    def prior(self, noise: Noise, sizes: dict[str, Tensor]) -> State:
        """Pure noise."""
        return self.denoiser.product.prior(noise, sizes)


class _First(Dataset):
    """The first items of a data set."""

    def __init__(self, data: Dataset, n: int) -> None:
        self._data, self._n = data, min(n, len(data))

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Any:
        return self._data[index]


Check = Callable[[Subject], None]
