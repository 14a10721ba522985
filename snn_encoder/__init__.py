"""HyMem's spiking sentence encoder.

`SpikingEncoder` turns texts into unit vectors on a CPU with numpy alone; training, distillation
and export are scripts of this package that need the extra `[train]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_encoder.inference import SpikingEncoder

__all__ = ["SpikingEncoder"]


def __getattr__(name: str) -> Any:
    if name == "SpikingEncoder":
        from snn_encoder.inference import SpikingEncoder

        return SpikingEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
