"""Conformance: what every modality must do, one named check each.

``unnoise check NAME`` prints them as a table; in a plugin's own tests, one line gives one pytest case a check::

    test_contract = unnoise.testing.modality_checks("toy", expected_failures={"round_trip": "the codec is lossy"})
"""

from unnoise.testing.checks import items, network, packaging, sampling, steering, training

__all__ = ["items", "network", "packaging", "sampling", "steering", "training"]
