"""From functions of TensorFlow to graphs of ONNX, with their weights in one file."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, compose, helper, inliner, numpy_helper
from onnx_ir.passes import common as passes
from onnxscript import FLOAT, INT32, INT64

from export import functions
from export.operators import HANDLERS, onnx_operators
from zoo.bundle import OUT

WEIGHTS = "weights.bin"
"""The file of the weights of all graphs in a directory."""

_OPSET, _IR_VERSION = 18, 10
_SMALL = 1024  # bytes that stay in a graph: ONNX Runtime reads shapes and axes there
_ALIGNED = 64  # bytes
_RECURRENCES = {"Loop", "LSTM", "GRU", "RNN"}


class Function(NamedTuple):
    """A function of tensors that returns a dict of them, and what it takes."""

    function: Callable
    signature: list[tf.TensorSpec]


def graph(function: Function) -> onnx.ModelProto:
    """The graph of a function.

    One of tokens `(batch, time)` and a state, with a recurrence in it, has a branch of its own for
    a single token: what there is to do are a few products, which are faster by themselves and can
    be quantised whatever the cell.

    Raises:
        ValueError: an operation of it is none of ONNX's.
    """
    model = _converted(function)
    tokens, *state = function.signature
    if state and any(node.op_type in _RECURRENCES for node in model.graph.node):
        single = tf.TensorSpec((None, 1, *tokens.shape[2:]), tokens.dtype, tokens.name)
        model = _branch(_converted(Function(function.function, [single, *state])), model)
    model = ir.from_proto(model)
    model = passes.LiftSubgraphInitializersToMainGraphPass()(model).model
    model = ir.to_proto(passes.DeduplicateHashedInitializersPass()(model).model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    return model


def candidates() -> onnx.ModelProto:
    """The graph of the k best next tokens: `logits`, `token_ids`, `k` -> `ids`, `log_probs`."""
    model = functions.candidates.to_model_proto(
        input_types=[FLOAT["batch", "time", "size"], INT32["batch", "time"], INT64[1]],
        output_types=[INT64["batch", "best"], FLOAT["batch", "best"]],
    )
    model.ir_version = _IR_VERSION
    return model


def take(leaves: Iterable[tf.TensorSpec]) -> onnx.ModelProto:
    """The graph that takes rows of leaves: `rows` and each `x` -> each `x_out`."""
    inputs = [helper.make_tensor_value_info("rows", TensorProto.INT64, [None])]
    outputs, nodes = [], []
    for leaf in leaves:
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(leaf.dtype.as_numpy_dtype))
        described = dtype, list(leaf.shape)
        inputs.append(helper.make_tensor_value_info(leaf.name, *described))
        outputs.append(helper.make_tensor_value_info(leaf.name + OUT, *described))
        nodes.append(helper.make_node("Gather", [leaf.name, "rows"], [leaf.name + OUT]))
    graph = helper.make_graph(nodes, "take", inputs, outputs)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=opsets)


def _converted(function):
    with onnx_operators():
        model, _ = tf2onnx.convert.from_function(
            tf.function(function.function, input_signature=function.signature),
            function.signature,
            opset=_OPSET,
            custom_op_handlers=HANDLERS,
            extra_opset=[helper.make_opsetid(functions.DOMAIN, 1)],
        )
    del model.graph.value_info[:]  # of the layers in `operators`, tf2onnx knows no shapes
    called = [n.op_type for n in model.graph.node if n.domain == functions.DOMAIN]
    for name in dict.fromkeys(called):
        function = getattr(functions, name)
        parts = [function, *function.function_ir.get_called_functions().values()]
        there = {proto.name for proto in model.functions}
        model.functions.extend(p.to_function_proto() for p in parts if p.name not in there)
    return inliner.inline_local_functions(model)


def _branch(single, several):
    """One model of two of the same function: the first where there is one token, else the other."""
    branches = {"then_branch": single, "else_branch": several}
    attributes = {}
    for name, model in branches.items():
        model = compose.add_prefix(model, f"{name}/", rename_inputs=False, rename_outputs=True)
        del model.graph.input[:]  # they are those of the graph around
        attributes[name] = model.graph
    outputs = list(several.graph.output)
    nodes = [
        helper.make_node("Shape", [several.graph.input[0].name], ["time"], start=1, end=2),
        helper.make_node("Equal", ["time", "one"], ["is_single"]),
        helper.make_node("If", ["is_single"], [output.name for output in outputs], **attributes),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "decode", list(several.graph.input), outputs, [one])
    return helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=several.opset_import)


# === Files ===


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
