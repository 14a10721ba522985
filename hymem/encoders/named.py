"""Encoders by name, for the command line.

``spiking:TIER`` (or a folder of weights), ``st:MODEL`` for Sentence Transformers, and
``openai:MODEL`` or ``openai:MODEL:DIM`` for any endpoint of that protocol.
"""

from __future__ import annotations

import re

from hymem.errors import EncoderError, InputError
from hymem.types import Encoder

_FORMS = "spiking:TIER, st:MODEL, openai:MODEL or openai:MODEL:DIM"


def encoder_named(name: str) -> Encoder:
    """The encoder of that name. Raises ``InputError`` for a name of no kind, ``EncoderError`` where
    it cannot be loaded."""
    kind, _, model = name.partition(":")
    if kind == "spiking" and model:
        return _spiking(model)
    if kind == "st" and model:
        from hymem.encoders.sentence_transformers import SentenceTransformersEncoder

        return SentenceTransformersEncoder(model)
    if kind == "openai" and model:
        return _openai(model)
    raise InputError(f"there is no encoder {name!r}; name one as {_FORMS}")


def option_for(encoder: str) -> str | None:
    """How to name, on the command line, the encoder with this ``Encoder.name``; ``None`` if that is
    not possible."""
    if encoder.startswith("snn-"):
        return f"spiking:{encoder.removeprefix('snn-')}"
    if encoder.startswith("openai/"):
        return f"openai:{encoder.removeprefix('openai/')}"
    # Its name leaves out whose model it is.
    return "st:MODEL" if encoder.startswith("sentence-transformers/") else None


def _spiking(tier: str) -> Encoder:
    from snn_encoder import SpikingEncoder, WeightsError

    try:
        encoder: Encoder = SpikingEncoder.from_pretrained(tier)
    except WeightsError as error:
        raise EncoderError(str(error)) from None
    return encoder


def _openai(model: str) -> Encoder:
    from hymem.encoders.openai import OpenAIEncoder

    given = re.fullmatch(r"(.+):(\d{1,5})", model)
    if given:
        return OpenAIEncoder(given[1], dim=int(given[2]))
    try:
        return OpenAIEncoder(model)
    except EncoderError as error:
        raise EncoderError(f"{error}: openai:{model}:DIM") from None
