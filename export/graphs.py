"""From functions of TensorFlow to graphs of ONNX."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, compose, helper, inliner
from onnxscript import FLOAT, INT64, ir

from export import functions
from export.operators import HANDLERS, onnx_operators
from zoo.bundle import OUT

_OPSET, _IR_VERSION = 18, 10
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
    model = ir.passes.common.LiftSubgraphInitializersToMainGraphPass()(model).model
    model = ir.to_proto(ir.passes.common.DeduplicateHashedInitializersPass()(model).model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ValueError(_reason(error)) from None
    return model


def _reason(error):
    """What is wrong in a line, with the layer where that is known."""
    if node := re.search(r"No Op registered.*Name: (\S+) OpType: (\S+)", str(error), re.DOTALL):
        layer, operator = node[1].rpartition("/")[0], node[2]
        return f"layer {layer} needs {operator}, which ONNX does not have"
    return str(error).splitlines()[0]


def advance(decode: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of `decode` without the logits: prompts are read for their state alone."""
    model = onnx.ModelProto()
    model.CopyFrom(decode)
    _leave_out(model.graph, "logits")
    ir_model = ir.from_proto(model)
    ir.passes.common.RemoveUnusedNodesPass()(ir_model)
    return ir.to_proto(ir_model)


def _leave_out(graph, name):
    """Takes an output away, in the branches of what makes it too."""
    graph.output.remove(next(output for output in graph.output if output.name == name))
    (maker,) = (node for node in graph.node if name in node.output)
    if maker.op_type == "If":
        place = list(maker.output).index(name)
        for branch in maker.attribute:
            _leave_out(branch.g, branch.g.output[place].name)
        del maker.output[place]


def candidates() -> onnx.ModelProto:
    """The graph of the k best next tokens: `logits`, `k` -> `ids`, `log_probs`."""
    model = functions.candidates.to_model_proto(
        input_types=[FLOAT["batch", "size"], INT64[1]],
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
