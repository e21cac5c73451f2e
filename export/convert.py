"""From presets to graphs, in an interpreter of its own on Keras's TensorFlow backend.

python -m export.convert PRESET DIRECTORY [PRESET DIRECTORY ...]

`export.exporter` starts it: tf2onnx and the SavedModel need TensorFlow whatever backend the caller
has, and what is exported is the function of the contract, traced with every axis dynamic.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from export import foreign, saved_model
from zoo.bundle import OUT
from zoo.tasks import Generator

_OPSET = 18


class Function(NamedTuple):
    """A function of tensors that returns a dict of them, and what it takes."""

    function: Callable
    signature: list[tf.TensorSpec]


def convert(preset: str, directory: Path) -> None:
    """Writes the graphs of a preset.

    Args:
        preset: what `export.foreign.load` takes.
        directory: an empty one.

    Raises:
        ValueError: the preset cannot be exported.
    """
    print("loading", flush=True)
    model = foreign.load(preset)
    if not isinstance(model, Generator):
        print("SavedModel", flush=True)
        function = saved_model.write_forward(model, directory / "saved_model")
        print("forward.onnx", flush=True)
        write_onnx(Function(*function), directory / "forward.onnx")
        return
    functions = contract_functions(model.backbone.network)
    for name, function in functions.items():
        print(f"{name}.onnx", flush=True)
        write_onnx(function, directory / f"{name}.onnx")
    print("SavedModel", flush=True)
    functions["serve"] = whole_model(model.backbone)
    saved_model.write(model.backbone, functions, directory / "saved_model")


def contract_functions(network) -> dict[str, Function]:
    """`decode`, and `encode` where there is one; every axis is dynamic but the widths of leaves.

    Inputs and outputs are named as in a bundle, `zoo.bundle` says how.
    """
    leaves = [leaf for leaf in network.state_spec if leaf.kind != "cursor"]

    def decode(token_ids, *state):
        state = {leaf.name: array for leaf, array in zip(leaves, state)}
        logits, state = network(token_ids, state)
        return {"logits": logits} | _named_out(state)

    def encode(source_ids):
        return _named_out(network.zeros(source_ids) | network.encode(source_ids))

    specs = [tf.TensorSpec((None, *leaf.shape), leaf.dtype, leaf.name) for leaf in leaves]
    functions = {"decode": Function(decode, [_ids("token_ids"), *specs])}
    if hasattr(network, "encode"):
        functions["encode"] = Function(encode, [_ids("source_ids")])
    return functions


def whole_model(backbone) -> Function:
    """`serve`: whole sequences to logits, as in training."""

    def serve(*inputs):
        return {"logits": backbone(dict(zip(backbone.input_names, inputs)))}

    return Function(serve, [_ids(name) for name in backbone.input_names])


def _ids(name):
    return tf.TensorSpec((None, None), tf.int32, name)


def _named_out(state):
    return {name + OUT: array for name, array in state.items()}


# === Files ===


def write_onnx(function: Function, path: Path) -> None:
    """Converts a function to a graph.

    Raises:
        ValueError: an operation of it is none of ONNX's.
    """
    traced = tf.function(function.function, input_signature=function.signature)
    model, _ = tf2onnx.convert.from_function(
        traced, function.signature, opset=_OPSET, custom_op_handlers=_HANDLERS
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{path.name} cannot be made: {_reason(error)}") from None
    onnx.save(model, path)


def _reason(error):
    """What is wrong in a line, with the layer where that is known."""
    if node := re.search(r"No Op registered.*Name: (\S+) OpType: (\S+)", str(error), re.DOTALL):
        layer, operator = node[1].rpartition("/")[0], node[2]
        return f"layer {layer} needs {operator}, which ONNX does not have"
    return str(error).splitlines()[0]


def _erfc(graph, node, name, arguments):
    """erfc(x) = 1 - erf(x), which is in GELU; ONNX has no operator of its own for it."""
    described = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    inputs, outputs = node.input, node.output
    graph.remove_node(name)
    (one,) = graph.make_const(f"{name}/one", np.ones((), "float32")).output
    (erf,) = graph.make_node("Erf", inputs, **described).output
    graph.make_node("Sub", [one, erf], outputs=outputs, name=name, **described)


def _update_slice(graph, node, name, arguments):
    """An array with another written into it from some indices on: that one padded, and chosen."""
    described = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    (whole, part, start), outputs = node.input, node.output
    graph.remove_node(name)

    def make(kind, inputs, **attributes):
        return graph.make_node(kind, inputs, attr=attributes).output[0]

    before = make("Cast", [start], to=onnx.TensorProto.INT64)
    until = make("Add", [before, make("Shape", [part])])
    pads = make("Concat", [before, make("Sub", [make("Shape", [whole]), until])], axis=0)
    written = make("Pad", [part, pads])
    ones = make(
        "Expand",
        [graph.make_const(f"{name}/one", np.ones((), "float32")).output[0], make("Shape", [part])],
    )
    chosen = make("Cast", [make("Pad", [ones, pads])], to=onnx.TensorProto.BOOL)
    graph.make_node("Where", [chosen, written, whole], outputs=outputs, name=name, **described)


_HANDLERS = {"Erfc": (_erfc, []), "XlaDynamicUpdateSlice": (_update_slice, [])}


def main(arguments: list[str]) -> None:
    """Converts each preset to the directory that follows it."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    try:
        for preset, directory in pairs:
            convert(preset, Path(directory))
    except Exception as error:  # whatever a layer may raise while it is traced; Keras names it
        said = str(error).rpartition("Exception encountered: ")[2]  # the innermost of Keras's
        sys.exit(f"error: {' '.join(said.split())[:400]}")


if __name__ == "__main__":
    main(sys.argv[1:])
