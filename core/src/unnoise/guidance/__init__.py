"""Guidance: which branches to evaluate, and how to combine their estimates of clean data.

A guidance is a value. Methods say what to do with the branches (:class:`CFG`, :class:`APG`, :class:`CFGZero`,
:class:`CFGPlusPlus`, :class:`Auto`); modifiers hold another guidance and change when or how it acts
(:class:`Interval`, :class:`AdaptiveStop`, :class:`Rescale`, :class:`Threshold`, :class:`Regions`). They nest:
``Interval(Rescale(CFG(5.0), 0.7), -2, 4)``.
"""

from unnoise.guidance.base import Condition, Guidance, Moment
from unnoise.guidance.build import build_guidance, check_guidance
from unnoise.guidance.methods import APG, CFG, Auto, CFGPlusPlus, CFGZero
from unnoise.guidance.mixing import mix
from unnoise.guidance.modifiers import AdaptiveStop, Interval, Modifier, Rescale, Threshold
from unnoise.guidance.regions import Region, Regions

__all__ = [
    "APG",
    "CFG",
    "AdaptiveStop",
    "Auto",
    "CFGPlusPlus",
    "CFGZero",
    "Condition",
    "Guidance",
    "Interval",
    "Modifier",
    "Moment",
    "Region",
    "Regions",
    "Rescale",
    "Threshold",
    "build_guidance",
    "check_guidance",
    "mix",
]
