"""Layers that ONNX has an operator for, and that a graph of TensorFlow would take apart.

A function that is traced inside of `onnx_operators` has one operation in place of such a layer,
which only names the operator: TensorFlow cannot run it, and tf2onnx replaces it with `HANDLERS`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import keras
import numpy as np
import onnx
import tensorflow as tf
from keras import ops
from keras.layers import Embedding, LayerNormalization

from export import functions
from zoo.layers.dense import Dense, project
from zoo.layers.recurrent import GRU, LSTM, Recurrent

_ACTIVATIONS = {
    keras.activations.tanh: "Tanh",
    keras.activations.sigmoid: "Sigmoid",
    keras.activations.relu: "Relu",
}
"""Of the simple recurrent layer, by ONNX's names."""


@contextmanager
def onnx_operators() -> Iterator[None]:
    """What is traced inside is for ONNX alone."""
    with (
        patch.object(Recurrent, "call", _recurrent),
        patch.object(LayerNormalization, "call", _layer_normalization),
        patch.object(Embedding, "call", _embedding),
        patch.object(Dense, "call", _dense),
        # Keras makes a product on three axes one on two, with reshapes before and after.
        patch.object(ops, "matmul", tf.matmul),
    ):
        yield


# What the layers do otherwise.
_recurrent_call, _normalization_call = Recurrent.call, LayerNormalization.call
_dense_call = Dense.call


def _recurrent(layer, inputs, state, lengths=None, training=False):
    function, attributes = _function(layer)
    if function is None or lengths is None or inputs.shape[1] == 1:
        return _recurrent_call(layer, inputs, state, lengths, training)
    weights = layer.kernel, layer.recurrent_kernel, layer.bias, *layer.cell_weights
    outputs, *state = _operation(
        function.name,
        [inputs, lengths, *state, *map(ops.convert_to_tensor, weights)],
        [(*inputs.shape[:2], layer.units), *[(None, layer.units)] * layer.num_states],
        domain=functions.DOMAIN,
        units=layer.units,
        **attributes,
    )
    return outputs, tuple(state)


def _function(layer):
    """The function in `export.functions` for a layer, `None` where there is none, and options."""
    if isinstance(layer, LSTM):
        return (functions.PeepholeLSTM if layer.peephole else functions.LSTM), {}
    if isinstance(layer, GRU):
        return (functions.GRU if layer.reset_after else functions.GRUResetBefore), {}
    if name := _ACTIVATIONS.get(layer.activation):
        return functions.SimpleRNN, {"activations": [name]}
    return None, {}


def _layer_normalization(layer, inputs):
    last = [len(inputs.shape) - 1]
    if layer.axis not in ([-1], last) or layer.gamma is None or layer.beta is None:
        return _normalization_call(layer, inputs)
    (outputs,) = _operation(
        "LayerNormalization",
        [inputs, layer.gamma, layer.beta],
        [inputs.shape],
        epsilon=layer.epsilon,
    )
    return outputs


def _embedding(layer, inputs):
    # Keras's looks for ids that count from the end.
    return tf.gather(layer.embeddings, tf.cast(inputs, tf.int32))


def _dense(layer, inputs, training=None):
    if layer.activation is not keras.activations.gelu:
        return _dense_call(layer, inputs)
    x = project(inputs, layer.kernel, layer.bias)
    return _operation("Gelu", [x], [x.shape], domain=functions.DOMAIN)[0]


def _operation(name, inputs, shapes, domain="", **attributes):
    """An operation of ONNX: its outputs, all float32, of these shapes."""
    # The one operation of TensorFlow that may have any inputs and outputs, and a text besides.
    outputs = tf.raw_ops.PyFunc(
        input=inputs,
        Tout=[tf.float32] * len(shapes),
        token=json.dumps({"op_type": name, "domain": domain, "attr": attributes}),
    )
    return [tf.ensure_shape(output, shape) for output, shape in zip(outputs, shapes)]


def _replace(graph, node, name, arguments):
    operation = json.loads(node.attr["token"].s)
    inputs, outputs = node.input, node.output
    described = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    graph.remove_node(name)
    graph.make_node(
        operation.pop("op_type"), inputs, outputs=outputs, name=name, **operation, **described
    )


def _erfc(graph, node, name, arguments):
    """erfc(x) = 1 - erf(x), which is in GELU; ONNX has no operator of its own for it."""
    inputs, outputs = node.input, node.output
    described = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
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


def _where(graph, node, name, arguments):
    node.type = "Where"  # of which tf2onnx makes casts and products


HANDLERS = {
    "PyFunc": (_replace, []),
    "Erfc": (_erfc, []),
    "SelectV2": (_where, []),
    "XlaDynamicUpdateSlice": (_update_slice, []),
}
"""For `tf2onnx.convert`."""
