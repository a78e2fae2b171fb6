"""A codec and its latents for the toy's points."""

from unnoise import Spec, hookimpl

UNNOISE_API = (1, 0)


@hookimpl
def unnoise_codecs():
    return [Spec("turn", "unnoise_coded.parts:Turn", "a linear autoencoder", "toy")]


@hookimpl
def unnoise_representations():
    return [Spec("turned", "unnoise_coded.parts:Turned", "its latents", "toy")]
