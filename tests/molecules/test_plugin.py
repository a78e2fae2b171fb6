"""The plugin as a whole, held to what every modality must do."""

from __future__ import annotations

import subprocess
import sys

from unnoise.testing import modality_checks

test_contract = modality_checks("molecules")
test_contract_conditional = modality_checks(
    "molecules",
    words=[
        "data=molecules/nci",
        "data.max_atoms=9",
        "conditions.use=[logp,rings]",
        "representation.aromatic=false",
    ],
)


def test_importing_the_plugin_is_cheap():
    code = "import sys, unnoise_molecules.plugin; print([m for m in ('torch', 'rdkit', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
