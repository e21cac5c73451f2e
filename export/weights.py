"""Graphs of ONNX in files, and the weights of all graphs of a directory in one."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = "weights.bin"
"""The file of the weights of all graphs in a directory."""

_SMALL = 1024  # bytes that stay in a graph: ONNX Runtime reads shapes and axes there
_ALIGNED = 64  # bytes


def write(models: Mapping[str, onnx.ModelProto], directory: Path) -> None:
    """Writes `NAME.onnx` for each, with their weights in one file, where equal ones are one."""
    with (directory / WEIGHTS).open("xb") as file:
        weights = _Weights(file)
        for name, model in models.items():
            weights.take(model)
            onnx.save(model, directory / f"{name}.onnx")


def rewrite(directory: Path, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    """Puts changed graphs, and their weights, in the place of those in a directory."""
    models = {path.stem: change(onnx.load(path)) for path in sorted(directory.glob("*.onnx"))}
    (directory / WEIGHTS).unlink(missing_ok=True)
    write(models, directory)


class _Weights:
    """A file of weights, each there once, be it transposed: as the embedding is in an output layer.

    Args:
        file: open for writing.
    """

    def __init__(self, file):
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}  # offset and length, by digest

    def take(self, model):
        """Moves the weights of a model to the file, all but the small ones."""
        there: dict[str, str] = {}  # names in this model, by digest
        kept, transposes = [], []
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.nbytes >= _SMALL:
                digest = _digest(array)
                turned = _digest(array.T) if array.ndim == 2 else digest
                if digest not in self._places and turned in self._places:
                    name = there.get(turned, f"{tensor.name}/transposed")
                    transposes.append(helper.make_node("Transpose", [name], [tensor.name]))
                    if turned in there:
                        continue
                    digest, array = turned, array.T
                    described = {"data_type": tensor.data_type, "dims": array.shape}
                    tensor = TensorProto(name=name, **described)
                there[digest] = tensor.name
                self._refer(tensor, *self._place(digest, array))
            kept.append(tensor)
        _replace(model.graph.initializer, kept)
        _replace(model.graph.node, [*transposes, *model.graph.node])

    def _place(self, digest, array):
        if digest not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % _ALIGNED))
            self._places[digest] = self._file.tell(), array.nbytes
            self._file.write(array.tobytes())
        return self._places[digest]

    def _refer(self, tensor, offset, length):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in ("location", WEIGHTS), ("offset", offset), ("length", length):
            tensor.external_data.add(key=key, value=str(value))


def _replace(repeated, messages):
    messages = [copy.deepcopy(message) for message in messages]
    del repeated[:]
    repeated.extend(messages)


def _digest(array):
    described = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(described + array.tobytes()).hexdigest()
