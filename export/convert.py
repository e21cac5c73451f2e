"""From presets to graphs, in an interpreter of its own on Keras's TensorFlow backend.

python -m export.convert PRESET DIRECTORY [PRESET DIRECTORY ...]

`export.exporter` starts it: tf2onnx and the SavedModel need TensorFlow whatever backend the caller
has, and what is exported is the function of the contract, traced with every axis dynamic.
"""

import sys
from pathlib import Path

import onnx
import tensorflow as tf

from export import foreign, graphs, saved_model, weights
from export.graphs import Function
from zoo.bundle import OUT
from zoo.tasks import Generator


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
        weights.write({"forward": graphs.graph(Function(*function))}, directory)
        return
    functions = contract_functions(model.backbone.network)
    models = {}
    for name, function in functions.items():
        print(f"{name}.onnx", flush=True)
        models[name] = graphs.graph(function)
    models |= graphs_beside(model.backbone.network, models["decode"])
    weights.write(models, directory)
    print("SavedModel", flush=True)
    functions["serve"] = whole_model(model.backbone)
    saved_model.write(model.backbone, functions, directory / "saved_model")


def contract_functions(network) -> dict[str, Function]:
    """`decode`, and `encode` where there is one; every axis is dynamic but the widths of leaves.

    Inputs and outputs are named as in a bundle, `zoo.bundle` says how.
    """
    leaves = _leaves(network)

    def decode(token_ids, *state):
        state = {leaf.name: array for leaf, array in zip(leaves, state)}
        logits, state = network(token_ids, state)
        return {"logits": logits} | _named_out(state)

    def encode(source_ids):
        return _named_out(network.zeros(source_ids) | network.encode(source_ids))

    functions = {"decode": Function(decode, [_ids("token_ids"), *leaves])}
    if hasattr(network, "encode"):
        functions["encode"] = Function(encode, [_ids("source_ids")])
    return functions


def graphs_beside(network, decode: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """What a decoder may ask for besides: `candidates`, `advance`, `take` and `attention`."""
    leaves = _leaves(network)
    models = {"candidates": graphs.candidates()}
    constants = network.state_spec.constants
    if carried := [leaf for leaf in leaves if leaf.name not in constants]:
        models["take"] = graphs.take(carried)
        models["advance"] = graphs.advance(decode)
    if network.has_attention:

        def attention(token_ids, *state):
            state = {leaf.name: array for leaf, array in zip(leaves, state)}
            return network(token_ids, state, attention=True)[2]

        models["attention"] = graphs.graph(Function(attention, [_ids("token_ids"), *leaves]))
    return models


def _leaves(network):
    """The leaves of a state that grows."""
    return [
        tf.TensorSpec((None, *leaf.shape), leaf.dtype, leaf.name)
        for leaf in network.state_spec
        if leaf.kind != "cursor"
    ]


def whole_model(backbone) -> Function:
    """`serve`: whole sequences to logits, as in training."""

    def serve(*inputs):
        return {"logits": backbone(dict(zip(backbone.input_names, inputs)))}

    return Function(serve, [_ids(name) for name in backbone.input_names])


def _ids(name):
    return tf.TensorSpec((None, None), tf.int32, name)


def _named_out(state):
    return {name + OUT: array for name, array in state.items()}


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
