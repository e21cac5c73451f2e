"""SavedModels: the functions of a model as endpoints for TensorFlow, and reading them back."""

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from zoo.bundle import OUT
from zoo.contract import Decodable


def write(model, functions: Mapping[str, tuple], path: os.PathLike) -> None:
    """Writes functions as endpoints; a `/` in a name becomes `_`, as TensorFlow wants it.

    Args:
        model: a `keras.Model` or layer, whose weights the functions read.
        functions: by name, a function of tensors that returns a dict of them, and its signature.
        path: a directory that is not there.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, signature) in functions.items():
        specs = [tf.TensorSpec(s.shape, s.dtype, identifier(s.name)) for s in signature]
        archive.add_endpoint(name, _with_identifiers(function), specs)
    archive.write_out(path, verbose=False)


def write_forward(model: keras.Model, path: os.PathLike) -> tuple[Callable, list[tf.TensorSpec]]:
    """Writes a model with its one endpoint `serve`, as Keras does.

    Returns:
        A function of tensors that returns a dict of them, and its signature.
    """
    model.export(str(path), format="tf_saved_model", verbose=False)
    forward = Forward(path)

    def function(*inputs):
        return forward.serve(**dict(zip(forward.inputs, inputs)))

    return function, list(forward.inputs.values())


def _with_identifiers(function):
    return lambda *inputs: {identifier(name): x for name, x in function(*inputs).items()}


def identifier(name: str) -> str:
    """The name of an input or output in the SavedModel."""
    return name.replace("/", "_")


class SavedModel(Decodable):
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


class Forward:
    """The endpoint `serve` of a SavedModel: arrays by name in, and out.

    Attributes:
        inputs, outputs: a `tf.TensorSpec` by name.
        serve: the same as a function of tensors.
    """

    def __init__(self, directory):
        self._loaded = tf.saved_model.load(str(directory))  # kept: the endpoint lives in it
        self.serve = self._loaded.signatures["serve"]
        self.inputs = self.serve.structured_input_signature[1]
        self.outputs = self.serve.structured_outputs

    def __call__(self, inputs):
        outputs = self.serve(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}
