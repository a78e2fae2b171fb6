"""Molecules to test with."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def smiles():
    """Small molecules with rings, charges, aromatic nitrogen and a triple bond."""
    return ["C", "CCO", "c1ccccc1", "c1cc[nH]c1", "C[N+](=O)[O-]", "CC#N", "OC1CC1F", "Cn1ccnc1", "[NH3+]CC(=O)[O-]"]
