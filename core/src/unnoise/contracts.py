"""What a plugin brings: data sets, representations, codecs, denoiser networks, metrics.

The engine calls these classes and nothing else of a plugin. A data set yields *items* in the plugin's own type (an
array, a string, an object of some library); a representation turns items into :class:`~unnoise.state.State` and back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from unnoise.correlation import correlations
from unnoise.errors import UserError
from unnoise.layout import Layout
from unnoise.level import Level
from unnoise.noise import Noise
from unnoise.state import State


@dataclass(frozen=True)
class Labels:
    """A class for every item: indices into ``names``, int64 ``(N,)``; -1 where unknown."""

    values: NDArray[np.int64]
    names: tuple[str, ...]
    condition: ClassVar[str] = "class"
    """The registered condition that tells a model of such a column; a derived column may name another."""


@dataclass(frozen=True)
class Scalars:
    """A number for every item: float64 ``(N,)``; NaN where unknown. ``unit`` is for people."""

    values: NDArray[np.float64]
    unit: str = ""
    condition: ClassVar[str] = "scalar"


@dataclass(frozen=True)
class Curves:
    """A number that changes over every item: float32 ``(N, K)``, K values at equal distances from the item's beginning
    to its end; NaN where there is none. ``unit`` is for people.
    """

    values: NDArray[np.float32]
    unit: str = ""
    condition: ClassVar[str] = "curve"


@dataclass(frozen=True)
class Maps:
    """Numbers all over every item: float32 ``(N, *points, channels)``, points at equal distances along each axis of the
    map, from the item's beginning to its end; NaN where unknown. ``unit`` is for people.
    """

    values: NDArray[np.float32]
    unit: str = ""
    condition: ClassVar[str] = "map"


@dataclass(frozen=True)
class Texts:
    """Words for every item, ``(N,)`` of numpy's string type; empty where unknown."""

    values: NDArray[np.str_]
    condition: ClassVar[str] = "text"


Column = Labels | Scalars | Curves | Maps | Texts
"""What is known of every item."""


@dataclass(frozen=True)
class MapShape:
    """How large a map is; a curve is a map along one axis.

    Args:
        points: along each axis.
        channels: numbers at each point.
    """

    points: tuple[int, ...]
    channels: int = 1


class Dataset(ABC):
    """A finite set of items with what is known of each.

    Built as ``cls(split=..., seed=..., **options)`` with split "train" or "test"; the two never share an item. Must be
    deterministic: the same arguments give the same items in the same order.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """Item ``index`` in the plugin's own type."""

    def columns(self) -> Mapping[str, Column]:
        """What is known of each item, by condition name (``"class"``, ``"logp"``)."""
        return {}

    def notes(self) -> Sequence[str]:
        """What a user should know, a line each: how many files were skipped and why, which licence holds."""
        return ()


@dataclass(frozen=True)
class Kept:
    """What an edit keeps of some items.

    Args:
        state: their clean states, with as many elements as the result shall have; only what is kept is read.
        masks: part -> bool, True where an element is kept, in a shape that broadcasts against the part; a part that is
            left out is made anew as a whole.
        splice: finished items -> the same with what is kept put in as it was, for representations that blur it.
    """

    state: State
    masks: Mapping[str, Tensor]
    splice: Callable[[list[Any]], list[Any]] = list


class Representation(nn.Module, ABC):
    """Items <-> states. Measured statistics are registered buffers; they are saved in every checkpoint.

    Life cycle: ``r = cls(**options)``; then either ``r.fit(items)`` on training data, or ``r.restore(settings)``
    followed by ``load_state_dict``. ``layout`` may be read after either.
    """

    layout: Layout
    needs_codec: ClassVar[bool] = False
    """True for a representation built as ``cls(codec=<fitted Codec>, **options)``. It keeps the codec as a submodule,
    so that the codec's weights are part of its state dict and a run needs no other run."""
    unordered: ClassVar[tuple[str, ...]] = ()
    """Variable axes whose elements are listed in any order, as those of a set: what ``train.pairing`` may reorder."""
    example_mask: ClassVar[str] = ""
    """A mask that :meth:`kept` takes for any item, with which ``unnoise check`` tries an infill."""

    @abstractmethod
    def fit(self, items: Sequence[Any]) -> None:
        """Measure what the data is like, from training items only."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON facts (sizes, vocabulary) from which :meth:`restore` rebuilds an object of the same shape."""

    @abstractmethod
    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set the layout and allocate buffers; their values come from ``load_state_dict``."""

    def unfit(self, items: Sequence[Any]) -> Mapping[int, str]:
        """Items that cannot be represented: index -> reason. The engine leaves them out and says so once."""
        return {}

    @abstractmethod
    def encode(self, items: Sequence[Any]) -> State:
        """Clean states of items, deterministic."""

    @abstractmethod
    def decode(self, state: State) -> list[Any]:
        """Items of clean states."""

    def augment(self, state: State, noise: Noise) -> State:
        """A training-time variation of encoded items, drawn from ``noise`` with purpose "augment"."""
        return state

    def augment_maps(self, maps: Mapping[str, Tensor], noise: Noise) -> dict[str, Tensor]:
        """Raw maps of the items that :meth:`augment` varied, varied alike: the same noise gives the same draws."""
        return dict(maps)

    def sizes(self, noise: Noise) -> dict[str, Tensor]:
        """Number of elements on each variable axis for new samples, int64 ``(B,)`` each, drawn from ``noise``
        with purpose "sizes".
        """
        return {}

    def asked_sizes(
        self, sizes: dict[str, Tensor], conditions: Mapping[str, Tensor], noise: Noise
    ) -> dict[str, Tensor]:
        """The sizes of new samples, as :meth:`sizes` drew them from ``noise``, with those put in that the samples' raw
        conditions decide: a number of elements, a length in seconds. What they only make likelier is drawn again, with
        purpose "sizes".

        Raises:
            UserError: for a size that cannot be.
        """
        return sizes

    def finish(self, items: list[Any], conditions: Mapping[str, Tensor]) -> list[Any]:
        """New samples as they were decoded, with what their raw conditions decide and no state holds: a frame rate."""
        return items

    def kept(self, items: Sequence[Any], mask: Any) -> Kept:
        """What an edit keeps of items, where ``mask`` says what is made anew.

        Args:
            items: all that the edit begins with, one per result.
            mask: as a user wrote it: text in the plugin's own words (:mod:`unnoise.masks`), a path to a native file, or
                an array.

        Raises:
            UserError: for a mask that does not fit the items, or that there is none of this kind.
        """
        raise UserError(f"{type(self).__name__} has no masks", "variation, interpolate and invert need none")

    def facts(self, items: Sequence[Any]) -> str:
        """A line for people about the items as a whole ("2.1 s in all, -20 dBFS"); empty if there is none."""
        return ""

    @abstractmethod
    def save(self, items: Sequence[Any], folder: Path, settings: Mapping[str, Any]) -> list[Path]:
        """Write items as native files into an existing folder, with ``settings`` embedded where the format can
        hold text. Byte-identical for identical arguments.
        """

    @abstractmethod
    def preview(self, items: Sequence[Any], path: Path, labels: Sequence[str] = ()) -> None:
        """Write one picture (PNG) to look at. ``labels`` says of each item what it was asked to be, if anything."""


class Codec(nn.Module, ABC):
    """A trained part of a representation (an autoencoder, a vocoder), trained by a run of its own.

    Same life cycle as :class:`Representation`: ``cls(**options)``, then ``fit(items)`` or ``restore(settings)``.
    """

    @abstractmethod
    def fit(self, items: Sequence[Any]) -> None:
        """Measure sizes and statistics and build the network."""

    @abstractmethod
    def settings(self) -> dict[str, Any]: ...

    @abstractmethod
    def restore(self, settings: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def prepare(self, items: Sequence[Any]) -> Tensor:
        """Items as one tensor ``(B, ...)`` that :meth:`loss` takes."""

    @abstractmethod
    def loss(self, batch: Tensor, noise: Noise) -> dict[str, Tensor]:
        """``{"loss": scalar, ...}`` with further scalars to log."""

    @abstractmethod
    def quality(self, batch: Tensor) -> dict[str, float]:
        """Reconstruction quality on held-out data, e.g. ``{"psnr_db": 27.1}``."""


@dataclass(frozen=True)
class Context:
    """The embedded condition a network sees.

    Args:
        vector: ``(B, context_dim)``, the sum of all conditions' vectors; for AdaLN and the like.
        tokens: ``(B, L, context_dim)`` for cross-attention, or None.
        token_mask: bool ``(B, L)``, True where a token is real, or None where all are.
        maps: ``(B, *points, channels)`` each, points at equal distances from the beginning of an axis of the item to
            its end, which the network joins to its input (:class:`unnoise.nn.JoinMaps`). A curve is the map along one
            axis (:class:`unnoise.nn.JoinCurves`).
    """

    vector: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None
    maps: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where something is added to a network's features.

    Args:
        width: number of channels.
        axis: which axis of the features holds them.
    """

    width: int
    axis: int


class Network(nn.Module, ABC):
    """A denoiser network, built as ``cls(layout, context_dim, **options)``.

    ``layout`` is the process's: a part's ``tokens`` says how many values a noised categorical element takes.
    ``context_dim`` is 0 for an unconditional model; ``context`` is None then. A network with a parameter ``maps``
    joins ``context.maps`` to its input: it is given their shapes (:class:`MapShape`). Only such a network can be told a
    curve or a map.

    A network that takes control (:mod:`unnoise.control`) also has :meth:`features` and :meth:`cut`. The branch of a
    control is such a network with one more map, cut down to what its features need.
    """

    self_conditioning: bool = False
    """True where ``previous`` is used; the engine then passes it during training and sampling."""

    @abstractmethod
    def forward(
        self,
        x: State,
        level: Level,
        context: Context | None,
        previous: Mapping[str, Tensor] | None = None,
        residuals: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The raw output, per part.

        Args:
            x: the noised state; gaussian parts already scaled to unit variance.
            level: its noise level.
            context: the embedded condition.
            previous: an earlier estimate of clean data (gaussian: mean; categorical: probabilities
                ``(B, *event, K)``), or None.
            residuals: what a control branch adds to the network's features, or None.

        Returns:
            gaussian part: same shape as the part. categorical part: logits ``(B, *event, K)``. Values at padded
            elements are ignored, and padding must not change any other value.
        """

    def features(
        self, x: State, level: Level, context: Context | None, previous: Mapping[str, Tensor] | None = None
    ) -> list[Tensor]:
        """What :meth:`forward` adds ``residuals`` to, in their order; arguments as there.

        Raises:
            UserError: if the network takes no control.
        """
        raise _uncontrolled(self)

    def cut(self, blocks: int | None = None) -> list[Place]:
        """Drop what :meth:`features` does not need; of networks with blocks in a row, all but the first ``blocks``.

        Returns:
            the places of the features that are left, which are the first of all.

        Raises:
            UserError: if the network takes no control, or has not so many blocks.
        """
        raise _uncontrolled(self)


def _uncontrolled(network: Network) -> UserError:
    message = f"denoiser {type(network).__name__} takes no control"
    return UserError(message, "train a base with a denoiser that does: one that has features() and cut()")


class MapMaker(ABC):
    """A map that can be made of any item of a modality (the edges of a picture), registered as a "map"; its name is
    that of the condition. Built as ``cls(**options)``.
    """

    @abstractmethod
    def __call__(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """The maps of items of one size, ``(N, *points, channels)``; NaN where unknown.

        Raises:
            UserError: if items alone do not tell.
        """

    def read(self, path: Path) -> NDArray[np.float32]:
        """Maps that somebody drew, ``(n, *points, channels)``, from a file or folder in the modality's formats.

        Raises:
            UserError: if they cannot be read.
        """
        raise UserError(f"{path} cannot be read as a map", "give an array in a file .npy")

    def agreement(
        self, wanted: NDArray[np.float32], items: Sequence[Any], train: Dataset, cache: Path | None = None
    ) -> NDArray[np.float64]:
        """How well items follow the maps they were asked to, ``(N,)``, 1 at best: the correlation of their own maps
        with those, over all points that are known; 0 where either does not vary.

        Args:
            wanted: ``(N, *points, channels)``.
            items: as many.
            train: real data, to train a judge on.
            cache: a folder where a judge may be kept, or None.
        """
        return correlations(self(items), wanted)


@dataclass(frozen=True)
class Score:
    """One metric's value beside what can be expected of it.

    Args:
        name: e.g. ``"class_accuracy"``.
        value: measured on generated items.
        floor: the same on real held-out data (real against real): the best to hope for.
        ceiling: the same on noise or a trivial guess: the worst to expect.
        better: "higher" or "lower", or "near" where the floor is the goal.
        note: protocol, e.g. ``"N=1000, features of the digit classifier"``.
    """

    name: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    better: str = "lower"
    note: str = ""


@dataclass(frozen=True)
class AskedMaps:
    """Maps that samples were asked to follow, ``wanted (N, *points, channels)``, and what makes such maps."""

    maker: MapMaker
    wanted: NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """All that a metric may look at.

    Args:
        generated: items made by the model.
        conditions: what each was asked to be: condition name -> raw values ``(N,)``, ``(N, K)`` or ``(N, *points,
            channels)``, as in a data set's columns; of a text the words.
        train, test: real data.
        noise: items decoded from pure noise, for the ceiling.
        seed: for whatever the metric draws.
        cache: a folder, there already, where a metric may keep what it computed on real data, or None.
        maps: name -> maps that the generated items were asked to follow.
        restored: the real items that those maps are of, encoded and decoded; empty without maps.
        untold: items of the same seeds and conditions that were not told the maps; empty without maps.
    """

    generated: Sequence[Any]
    conditions: Mapping[str, NDArray[Any]]
    train: Dataset
    test: Dataset
    noise: Sequence[Any] = ()
    seed: int = 0
    cache: Path | None = None
    maps: Mapping[str, AskedMaps] = field(default_factory=dict)
    restored: Sequence[Any] = ()
    untold: Sequence[Any] = ()


class Metric(ABC):
    """A family of scores, built as ``cls(**options)``."""

    @abstractmethod
    def __call__(self, evidence: Evidence) -> list[Score]: ...


@dataclass(frozen=True)
class Samples:
    """What ``sample`` returns: decoded items, the clean state and the record that reproduces them."""

    items: list[Any]
    state: State
    record: dict[str, Any] = field(default_factory=dict)
