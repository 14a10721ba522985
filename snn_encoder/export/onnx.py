"""Write an encoder as an ONNX model: `python -m snn_encoder.export.onnx --out model.onnx`.

The graph is the encoder's inference at a fixed T, its time steps unrolled and its sentences padded
rather than end to end; equations are in `network.model`::

    input_ids           int64 [batch, length]   token ids without [CLS] and [SEP]
    attention_mask      int64 [batch, length]   1 at tokens, 0 at padding
    sentence_embedding  float32 [batch, dim]    unit rows

The vocabulary is the package's `tokenizer.json`; an empty text is the one token [UNK]; padding may
be any valid id. Nothing is cut here: the encoder itself cuts texts at the metadata's `max_tokens`.

Spikes of level 0 depend on the token alone, so the export computes them once for the whole
vocabulary and the graph looks them up: one int8 table a step, or their sum over steps where no
block reads single steps. Matrices are int8 in the file and float32 once loaded; synaptic sums are
whole numbers and exact, as in `snn_encoder.simulation`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snn_encoder.inference import SpikingEncoder
from snn_encoder.parameters import MAX_TIMESTEPS, Block, Linear
from snn_encoder.simulation import token_counts

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17
IR_VERSION = 8  # of that opset's release: a runtime that knows the opset reads the file
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"


class _Graph:
    """Nodes and constants of a graph; a value is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = out or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
        return name

    def axis(self, axis: int) -> str:
        return self.constant(f"axis_{axis}", [axis], np.int64)

    def floats(self, value: str) -> str:
        from onnx import TensorProto

        return self("Cast", value, to=TensorProto.FLOAT)


class _Padding:
    """What tells tokens from padding.

    Attributes:
        column: float32 [batch, length, 1], 1 at tokens; row: the same, [batch, 1, length].
        lengths: float32 [batch, 1], tokens of each sentence, at least 1.
    """

    def __init__(self, g: _Graph) -> None:
        mask = g.floats("attention_mask")
        self.column, self.row = (g("Unsqueeze", mask, g.axis(axis)) for axis in (2, 1))
        counts = g("ReduceSum", mask, g.axis(1), keepdims=1)
        self.lengths = g("Max", counts, g.constant("one", 1))

    def sums(self, g: _Graph, x: str) -> str:
        """Sum tokens' rows per sentence: [batch, length, d] to [batch, d]."""
        return g("Squeeze", g("MatMul", self.row, x), g.axis(1))


def _tables(table: np.ndarray, timesteps: int, blocks: bool) -> list[np.ndarray]:
    """Return level 0's spikes of every token, int8 [vocabulary, width]: a step each, or summed."""
    counts = [token_counts(table, t).astype(np.int8) for t in range(timesteps + 1)]
    return [b - a for a, b in pairwise(counts)] if blocks else counts[-1:]


class _Affine:
    """x W s / divisor + b for whole x; W is int8 in the file. Its constants are written once."""

    def __init__(self, g: _Graph, name: str, layer: Linear, divisor: str) -> None:
        self.weight = g.floats(g.constant(f"{name}.weight", layer.weight, np.int8))
        self.scale = g("Div", g.constant(f"{name}.scale", layer.scale), divisor)
        self.bias = g.constant(f"{name}.bias", layer.bias)

    def __call__(self, g: _Graph, x: str) -> str:
        return g("Add", g("Mul", g("MatMul", x, self.weight), self.scale), self.bias)


def _fire(g: _Graph, currents: Sequence[str]) -> list[str]:
    """Return the spikes of ternary IF neurons with soft reset, θ = q/2 = 1/2: a value a step."""
    least, most = g.constant("least", -1), g.constant("most", 1)
    spikes: list[str] = []
    u = ""
    for current in currents:
        u = g("Add", g("Sub", u, spikes[-1]), current) if spikes else current
        spikes.append(g("Clip", g("Round", u), least, most))
    return spikes


def _block(
    g: _Graph, name: str, block: Block, spikes: Sequence[str], padding: _Padding
) -> list[str]:
    """Return a block's spikes [batch, length, channels] from those below it: a value a step."""
    taps, channels = block.taps.shape
    linear = g.floats(g.constant(f"{name}.linear", block.linear, np.int8))
    kernel = g.constant(f"{name}.taps", block.taps.T[:, None])
    bias = g.constant(f"{name}.bias", block.bias)
    two = g.constant("two", 2)
    gates, shifts = (
        _Affine(g, f"{name}.{part}", _columns(block.context, start, channels), padding.lengths)
        for part, start in (("gate", 0), ("shift", channels))
    )
    currents = []
    for x in spikes:
        total = padding.sums(g, x)
        gate = g("Mul", g("Sigmoid", gates(g, total)), two)
        shift = g("Add", shifts(g, total), g("Mul", bias, gate))
        projected = g("Mul", g("MatMul", x, linear), padding.column)
        projected = g("Transpose", projected, perm=[0, 2, 1])
        near = g("Conv", projected, kernel, group=channels, pads=[taps // 2, taps // 2])
        current = g("Mul", near, g("Unsqueeze", gate, g.axis(2)))
        current = g("Add", current, g("Unsqueeze", shift, g.axis(2)))
        currents.append(g("Transpose", current, perm=[0, 2, 1]))
    return _fire(g, currents)


def _columns(layer: Linear, start: int, count: int) -> Linear:
    part = slice(start, start + count)
    bias = np.broadcast_to(layer.bias, layer.scale.shape)
    return Linear(layer.weight[:, part], layer.scale[part], bias[part])


def _nodes(g: _Graph, encoder: SpikingEncoder, timesteps: int) -> None:
    """Write everything from `INPUTS` to `OUTPUT`."""
    padding, parameters = _Padding(g), encoder.parameters
    steps = g("Mul", padding.lengths, g.constant("timesteps", timesteps))
    spikes = [
        g.floats(g("Gather", g.constant(f"tokens.{t}", table, np.int8), "input_ids"))
        for t, table in enumerate(_tables(parameters.table, timesteps, bool(parameters.blocks)))
    ]
    z = g.constant("bias", parameters.bias)
    for level, readout in enumerate(parameters.readouts):
        if level:
            spikes = _block(g, f"blocks.{level - 1}", parameters.blocks[level - 1], spikes, padding)
        fired = padding.sums(g, g("Sum", *spikes))
        z = g("Add", z, _Affine(g, f"readouts.{level}", readout, steps)(g, fired))
    g("LpNormalization", z, out=OUTPUT, axis=1, p=2)


def onnx_model(encoder: SpikingEncoder, timesteps: int | None = None) -> ModelProto:
    """Return the ONNX model of an encoder; the module's docstring has its inputs and output.

    Args:
        encoder: any tier, with context blocks or without.
        timesteps: T of the model, the encoder's default when left out.

    Raises:
        ValueError: T is out of range.
        ImportError: the package onnx is missing.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise ImportError("ONNX export needs onnx: pip install 'hymem[onnx]'.") from error
    steps = encoder.timesteps if timesteps is None else timesteps
    if not 1 <= steps <= MAX_TIMESTEPS:
        raise ValueError(f"timesteps must lie between 1 and {MAX_TIMESTEPS}, got {steps}.")
    g = _Graph()
    _nodes(g, encoder, steps)
    shape = ["batch", "length"]
    graph = helper.make_graph(
        g.nodes,
        encoder.name,
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", encoder.dim])],
        [numpy_helper.from_array(value, name) for name, value in g.constants.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="hymem",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    facts = {
        "weights_sha256": encoder.parameters.digest,
        "timesteps": str(steps),
        "max_tokens": str(encoder.max_tokens),
        "add_special_tokens": "false",
    }
    helper.set_model_props(model, facts)
    checker.check_model(model, full_check=True)
    return model


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m snn_encoder.export.onnx", description=__doc__)
    parser.add_argument("--weights", default="small", help="nano, small or a folder")
    parser.add_argument("--timesteps", type=int, help="T, the encoder's default when left out")
    parser.add_argument("--out", type=Path, required=True, help="file for the model")
    args = parser.parse_args(argv)
    try:
        model = onnx_model(SpikingEncoder.from_pretrained(args.weights), args.timesteps)
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    args.out.write_bytes(model.SerializeToString())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
