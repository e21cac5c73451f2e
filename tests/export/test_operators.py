"""Layers that become ONNX's operators compute what they do in Keras."""

import os

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers.dense import Dense
from zoo.layers.recurrent import GRU, LSTM, SimpleRNN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorFlow traces every graph"
    ),
]

FEATURES, UNITS = 5, 6
LENGTHS = np.array([4, 0, 2, 1], "int32")
LAYERS = {
    "LSTM": lambda: LSTM(UNITS),
    "LSTM with peepholes": lambda: LSTM(UNITS, peephole=True),
    "GRU": lambda: GRU(UNITS),
    "GRU, reset before": lambda: GRU(UNITS, reset_after=False),
    "RNN tanh": lambda: SimpleRNN(UNITS),
    "RNN sigmoid": lambda: SimpleRNN(UNITS, activation="sigmoid"),
    "RNN relu": lambda: SimpleRNN(UNITS, activation="relu"),
    "RNN softsign": lambda: SimpleRNN(UNITS, activation="softsign"),
}


def with_weights(layer, *shape):
    layer.build(shape)
    random = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(random.normal(scale=0.7, size=weight.shape))
    return layer


def converted(function, **specs):
    """The graph of a function, and what it gives of arrays."""
    import onnxruntime
    import tensorflow as tf

    from export.graphs import Function, graph

    signature = [tf.TensorSpec(shape, dtype, name) for name, (shape, dtype) in specs.items()]
    model = graph(Function(function, signature))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return model, lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))


def operators(graph):
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer(name):
    layer = with_weights(LAYERS[name](), None, None, FEATURES)
    names = ["h", "c"][: layer.num_states]

    def run(x, lengths, *state):
        outputs, state = layer(x, state, lengths)
        return {"outputs": outputs} | {f"{n}_out": s for n, s in zip(names, state)}

    model, in_onnx = converted(
        run,
        x=((None, None, FEATURES), "float32"),
        lengths=((None,), "int32"),
        **dict.fromkeys(names, ((None, UNITS), "float32")),
    )
    loops = {"Loop", "Scan"} & set(operators(model.graph))
    assert bool(loops) == ("softsign" in name)  # which ONNX Runtime's operator does not have
    random = np.random.default_rng(1)
    state = {n: random.normal(size=(4, UNITS)).astype("float32") for n in names}
    x = random.normal(size=(4, 4, FEATURES)).astype("float32")
    for time, lengths in ((4, LENGTHS), (1, np.minimum(LENGTHS, 1))):
        expected = run(x[:, :time], lengths, *state.values())
        got = in_onnx(x=x[:, :time], lengths=lengths, **state)
        for key in (f"{n}_out" for n in names):
            np.testing.assert_allclose(got[key], expected[key], atol=2e-6)
            np.testing.assert_array_equal(got[key][1], state[key[0]][1])  # a row without tokens
        real = (np.arange(time) < lengths[:, None])[..., None]
        ours, theirs = (np.where(real, o["outputs"], 0) for o in (expected, got))
        np.testing.assert_allclose(theirs, ours, atol=2e-6)


@pytest.mark.parametrize(
    ("operator", "layer"),
    [
        ("LayerNormalization", lambda: keras.layers.LayerNormalization(epsilon=1e-5)),
        ("Erf", lambda: Dense(UNITS, activation="gelu")),
        ("MatMul", lambda: Dense(UNITS)),
    ],
)
def test_a_layer_of_one_operator(operator, layer):
    layer = with_weights(layer(), None, None, FEATURES)
    model, in_onnx = converted(lambda x: {"y": layer(x)}, x=((None, None, FEATURES), "float32"))
    kinds = list(operators(model.graph))
    assert kinds.count(operator) == 1
    assert not {"Reshape", "Sub", "ReduceMean"} & set(kinds)
    x = np.random.default_rng(1).normal(size=(2, 3, FEATURES)).astype("float32")
    np.testing.assert_allclose(in_onnx(x=x)["y"], ops.convert_to_numpy(layer(x)), atol=2e-6)


def test_an_embedding_is_looked_up():
    layer = with_weights(keras.layers.Embedding(7, UNITS), None, None)
    model, in_onnx = converted(lambda x: {"y": layer(x)}, x=((None, None), "int32"))
    assert list(operators(model.graph)) == ["Gather"]
    ids = np.array([[1, 6, 0]], "int32")
    np.testing.assert_array_equal(in_onnx(x=ids)["y"], ops.convert_to_numpy(layer(ids)))


def test_tensorflow_is_given_no_operator_of_onnx():
    import tensorflow as tf

    layer = with_weights(LSTM(UNITS), None, None, FEATURES)
    x, zero = np.ones((2, 3, FEATURES), "float32"), np.zeros((2, UNITS), "float32")
    specs = (tf.TensorSpec((None, None, FEATURES)), tf.TensorSpec((None,), tf.int32))
    function = tf.function(lambda x, n: layer(x, (zero, zero), n)[0], input_signature=specs)
    kinds = {node.type for node in function.get_concrete_function().graph.get_operations()}
    assert "PyFunc" not in kinds
    assert function(x, np.array([3, 1])).shape == (2, 3, UNITS)
