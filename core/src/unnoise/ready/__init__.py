"""Ready-made parts for plugins: networks, representations, data sets and metrics that fit many kinds of data.

A plugin registers them as they are (``Spec("mlp", "unnoise.ready:VectorNetwork", modality="waves")``), or derives its
own classes from them and changes what differs.
"""

from __future__ import annotations

from unnoise.ready.arrays import Arrays, read_arrays
from unnoise.ready.data import ArrayFile, FileFolder, ItemList, TableFile
from unnoise.ready.metrics import KernelMetric, MarginalMetric, NearestMetric, SlicedMetric
from unnoise.ready.networks import SequenceNetwork, SetNetwork, VectorNetwork
from unnoise.ready.records import Records, read_rows
from unnoise.ready.symbols import Symbols, read_texts

__all__ = [
    "ArrayFile",
    "Arrays",
    "FileFolder",
    "ItemList",
    "KernelMetric",
    "MarginalMetric",
    "NearestMetric",
    "Records",
    "SequenceNetwork",
    "SetNetwork",
    "SlicedMetric",
    "Symbols",
    "TableFile",
    "VectorNetwork",
    "read_arrays",
    "read_rows",
    "read_texts",
]
