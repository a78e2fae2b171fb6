"""What this plugin registers. Importing this module is cheap: the references are imported on use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from unnoise.plugins import Finding, Modality, Spec, hookimpl

UNNOISE_API = (1, 0)


def _spec(name: str, ref: str, summary: str) -> Spec:
    return Spec(name, f"unnoise_molecules.{ref}", summary, modality="molecules")


@hookimpl
def unnoise_modalities() -> Iterable[Modality]:
    """Molecules."""
    summary = "molecules as graphs of atoms and bonds; items are SMILES"
    return [Modality("molecules", summary, reader="unnoise_molecules.files:read_molecules")]


@hookimpl
def unnoise_datasets() -> Iterable[Spec]:
    """Sources of molecules."""
    return [
        _spec("qm9", "data.qm9:Qm9", "130,831 molecules of at most 9 heavy atoms, from the package qm9pack"),
        _spec("nci", "data.nci:Nci", "about 5,000 varied molecules that come with RDKit"),
        _spec("file", "data.file:MoleculeFile", "any SMILES, CSV or SDF file"),
    ]


@hookimpl
def unnoise_representations() -> Iterable[Spec]:
    """Molecules as graphs."""
    return [_spec("graph", "representation:MoleculeGraph", "atom types and bond orders, hydrogens implied")]


@hookimpl
def unnoise_denoisers() -> Iterable[Spec]:
    """Networks for graphs."""
    return [_spec("graph_transformer", "transformer:GraphTransformer", "transformer over atoms, with pairs")]


@hookimpl
def unnoise_metrics() -> Iterable[Spec]:
    """How molecules are judged."""
    return [
        _spec("validity", "metrics.validity:ValidityMetric", "valid, connected, unique, novel"),
        _spec(
            "properties", "metrics.properties:PropertiesMetric", "distances of property distributions; what was asked"
        ),
        _spec("fcd", "metrics.fcd:FcdMetric", "Frechet ChemNet distance (needs fcd_torch)"),
    ]


@hookimpl
def unnoise_doctor() -> Iterable[Finding]:
    """Optional packages."""
    qm9, fcd = (find_spec(name) is not None for name in ("qm9pack", "fcd_torch"))
    return [
        Finding(True, "data 'qm9': package qm9pack", "" if qm9 else "pip install 'unnoise-molecules[qm9]'"),
        Finding(True, "metric 'fcd': package fcd_torch", "" if fcd else "pip install 'unnoise-molecules[fcd]'"),
    ]
