"""HyMem's spiking sentence encoder.

`SpikingEncoder` turns texts into unit vectors on a CPU with numpy alone. What may be imported is
imported from here; modules below are private, but for the commands (`python -m snn_encoder.train`
and the others that README.md names). Names are loaded on first use; some need an extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_encoder.export.nir import nir_graph
    from snn_encoder.export.onnx import onnx_model
    from snn_encoder.inference import SpikingEncoder
    from snn_encoder.integrations.langchain import SpikingEmbeddings
    from snn_encoder.integrations.sentence_transformers import SpikingModule
    from snn_encoder.parameters import WeightsError
    from snn_encoder.tokenizer import load_tokenizer

_HOME_OF = {
    "SpikingEmbeddings": "integrations.langchain",
    "SpikingEncoder": "inference",
    "SpikingModule": "integrations.sentence_transformers",
    "WeightsError": "parameters",
    "load_tokenizer": "tokenizer",
    "nir_graph": "export.nir",
    "onnx_model": "export.onnx",
}

__all__ = [
    "SpikingEmbeddings",
    "SpikingEncoder",
    "SpikingModule",
    "WeightsError",
    "load_tokenizer",
    "nir_graph",
    "onnx_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'snn_encoder' has no attribute {name!r}")
    value = getattr(import_module(f"snn_encoder.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
