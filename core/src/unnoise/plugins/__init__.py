"""Plugins: what they declare (:mod:`specs`), the hooks (:mod:`hookspecs`), discovery and look-up (:mod:`registry`)."""

from unnoise.plugins.hookspecs import API_VERSION, hookimpl
from unnoise.plugins.registry import Registry, get_registry
from unnoise.plugins.specs import Finding, Kind, Modality, Spec

__all__ = ["API_VERSION", "Finding", "Kind", "Modality", "Registry", "Spec", "get_registry", "hookimpl"]
