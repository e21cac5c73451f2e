"""From presets to graphs, in an interpreter of its own on Keras's TensorFlow backend.

python -m export.convert PRESET DIRECTORY [PRESET DIRECTORY ...]

`export.exporter` starts it: tf2onnx and the SavedModel need TensorFlow whatever backend the caller
has, and what is exported is the function of the contract, traced with every axis dynamic.
"""

import dataclasses
import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf

import zoo
from export import graphs, weights
from export.graphs import Function
from export.verify import verify
from zoo.bundle import FORMAT_VERSION, OUT
from zoo.contract import Decodable
from zoo.tokenizers import SPECIAL_TOKENS

_VERSIONS = ("sequence-zoo", "keras", "keras-hub", "tensorflow", "tf2onnx", "onnx")


def convert(preset: str, directory: Path) -> None:
    """Writes the bundle of a preset, its manifest last.

    Args:
        preset: what `zoo.load` takes; the task has a tokenizer.
        directory: an empty one.

    Raises:
        ValueError: the preset cannot be exported.
    """
    print("loading", flush=True)
    task = zoo.load(preset, dtype="float32")
    functions = contract_functions(task.backbone.network)
    models = {}
    for name, function in functions.items():
        print(f"{name}.onnx", flush=True)
        models[name] = graphs.graph(function)
    models |= graphs_beside(task.backbone.network)
    weights.write(models, directory)
    check_tokenizer(task)
    tokenizer, source_tokenizer = task.tokenizer, task.source_tokenizer
    tokenizer.save(directory / "tokenizer.json")
    if source_tokenizer and source_tokenizer is not tokenizer:
        source_tokenizer.save(directory / "source_tokenizer.json")
    print("SavedModel", flush=True)
    functions["serve"] = whole_model(task.backbone)
    saved_model = directory / "saved_model"
    write_saved_model(task.backbone, functions, saved_model)
    verify(_SavedModel(saved_model, task), task, tokenizer, source_tokenizer)
    write_manifest(task.backbone.network, directory)


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


def graphs_beside(network) -> dict[str, onnx.ModelProto]:
    """What the decoder of a bundle may ask for besides: `candidates`, `take` and `attention`."""
    leaves = _leaves(network)
    models = {"candidates": graphs.candidates()}
    if leaves:
        models["take"] = graphs.take(leaves)
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


def check_tokenizer(task) -> None:
    """Raises `ValueError` where there is none, or one of another model."""
    if task.preprocessor is None:
        raise ValueError("the preset has no tokenizer: save the task with its preprocessor")
    sizes = task.tokenizer.vocabulary_size, task.backbone.network.vocabulary_size
    if sizes[0] > sizes[1]:
        raise ValueError(
            f"the tokenizer has {sizes[0]} tokens and the model {sizes[1]}: they do not belong "
            "together"
        )


# === Files ===


def write_saved_model(backbone, functions: dict[str, Function], path: Path) -> None:
    """Writes each function as an endpoint; a `/` in a name becomes `_`, as TensorFlow wants it."""
    archive = keras.export.ExportArchive()
    archive.track(backbone)
    for name, (function, signature) in functions.items():
        specs = [tf.TensorSpec(s.shape, s.dtype, identifier(s.name)) for s in signature]
        archive.add_endpoint(name, _with_identifiers(function), specs)
    archive.write_out(path, verbose=False)


def _with_identifiers(function):
    return lambda *inputs: {identifier(name): x for name, x in function(*inputs).items()}


def identifier(name: str) -> str:
    """The name of an input or output in the SavedModel."""
    return name.replace("/", "_")


def write_manifest(network, directory: Path) -> None:
    """Writes what a reader needs to know; `zoo.bundle` is one."""
    manifest = {
        "format_version": FORMAT_VERSION,
        "architecture": type(network).__name__,
        "vocabulary_size": network.vocabulary_size,
        "max_length": network.max_length,
        "special_ids": {token: i for i, token in enumerate(SPECIAL_TOKENS)},
        "state": [dataclasses.asdict(leaf) for leaf in network.state_spec],
        "versions": {name: version(name) for name in _VERSIONS},
        "files": {
            str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        },
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


# === The SavedModel, read again ===


class _SavedModel(Decodable):
    """A SavedModel as a decoder sees it."""

    def __init__(self, directory, task):
        self._loaded = tf.saved_model.load(str(directory))  # kept: the endpoints live in it
        self.state_spec, self.max_length = task.state_spec, task.max_length
        self._names = {identifier(leaf.name): leaf.name for leaf in task.state_spec}

    def start(self, source_ids_or_batch):
        if "encode" not in self._loaded.signatures:
            return self.state_spec.initial(source_ids_or_batch)
        return self._run("encode", source_ids=source_ids_or_batch)[1]

    def read(self, token_ids, state):
        inputs = {identifier(name): array for name, array in state.items()}
        return self._run("decode", token_ids=token_ids, **inputs)

    def _run(self, endpoint, **inputs):
        inputs = {name: tf.constant(array) for name, array in inputs.items()}
        outputs = self._loaded.signatures[endpoint](**inputs)
        outputs = {name: np.asarray(tensor) for name, tensor in outputs.items()}
        logits = outputs.pop("logits", None)
        return logits, {self._names[n.removesuffix(OUT)]: x for n, x in outputs.items()}


def main(arguments: list[str]) -> None:
    """Converts each preset to the directory that follows it."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    try:
        for preset, directory in pairs:
            convert(preset, Path(directory))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
