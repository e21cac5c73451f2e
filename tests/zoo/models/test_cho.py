"""Cho's encoder-decoder against its papers' equations, one token at a time in float64."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from zoo.models.cho import ChoEncoderDecoder, GatedRecursiveConvolution

_tests = Path(__file__).parents[2]
_table = runpy.run_path(str(_tests / "small_networks.py"))
_equations = runpy.run_path(str(_tests / "equations.py"))
gru_step, maxout, sigmoid = map(_equations.get, ("gru_step", "maxout", "sigmoid"))

SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0], [1, 0, 0, 0]], "int32")
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5], [9, 7, 9, 3, 2]], "int32")
UNITS = 8


def top(weights, x):
    """arXiv:1409.1259, equations 4 to 6: a triangle of vectors, each made of two below it."""
    level = list(x @ weights["encoder/bottom"])
    while len(level) > 1:
        above = []
        for left, right in itertools.pairwise(level):
            new = left @ weights["encoder/left"] + right @ weights["encoder/right"]
            gates = left @ weights["encoder/left_gate"] + right @ weights["encoder/right_gate"]
            new = np.maximum(new + weights["encoder/bias"], 0)
            gates = _equations["softmax"](gates + weights["encoder/gate_bias"])
            above.append(gates @ [new, left, right])
        level = above
    return level[0]


def last(weights, x):
    h = np.zeros(6)
    for token in x:
        h = gru_step(weights, "encoder", token, h)
    return h


def decoder_step(network, weights, y, h, c):
    """arXiv:1406.1078, appendix A.1.2: the context stands inside the bracket of the reset gate."""
    kernel = np.asarray(ops.convert_to_numpy(network.recurrent_kernel), "float64")
    wz, wr, wg = np.split(y @ weights["token/kernel"] + weights["token/bias"], 3)
    (uz, ur, ug), (cz, cr, cg) = np.split(h @ kernel, 3), np.split(c @ weights["context/kernel"], 3)
    z, r = sigmoid(wz + uz + cz), sigmoid(wr + ur + cr)
    return z * h + (1 - z) * np.tanh(wg + r * (ug + cg))


@pytest.mark.parametrize(("name", "encoder"), [("cho", last), ("cho_grconv", top)])
def test_logits_are_those_of_the_equations(name, encoder):
    model = _table["backbone"](name)
    weights, network = _table["arrays"](model), model.network
    for layer, part in (("from_token", "token"), ("from_context", "context")):
        # The output has layers of these names too.
        for weight in getattr(network, layer).weights:
            weights[f"{part}/{weight.name}"] = np.asarray(ops.convert_to_numpy(weight), "float64")
    for layer in ("from_token", "from_context"):
        inner = getattr(network.output_layer, layer)
        weights[f"{layer}/kernel"] = np.asarray(ops.convert_to_numpy(inner.kernel), "float64")
    logits = ops.convert_to_numpy(model({"token_ids": TOKENS, "encoder_token_ids": SOURCES}))
    for row, source in enumerate(SOURCES):
        x = weights["source_embedding/embeddings"][source[source != 0]]
        c = encoder(weights, x) @ weights["summary/kernel"] + weights["summary/bias"]
        c = np.tanh(c)
        h = np.tanh(c @ weights["first_state/kernel"] + weights["first_state/bias"])
        for t, token_id in enumerate(TOKENS[row]):
            y = weights["token_embedding/embeddings"][token_id]
            h = decoder_step(network, weights, y, h, c)
            # Float32 against float64, with numbers of order one.
            np.testing.assert_allclose(logits[row, t], maxout(weights, h, y, c), 1e-5, 1e-5)


def test_a_merge_worked_by_hand():
    # One unit, U = 1. "2, 3": g = relu(1 * 2 - 1 * 3) = 0, the gates are softmax(0, 2 ln 2, 0), so
    # w_l = 4 / 6, and the vector is (4 * 2 + 1 * 3) / 6.
    layer = GatedRecursiveConvolution(1)
    x = np.array([[[2.0], [3.0]], [[2.0], [0.0]]], "float32")
    layer.build(x.shape)
    layer.bottom.assign([[1.0]])
    layer.left.assign([[1.0]])
    layer.right.assign([[-1.0]])
    layer.left_gate.assign([[0.0, np.log(2.0), 0.0]])
    layer.right_gate.assign([[0.0, 0.0, 0.0]])
    _, (top,) = layer(x, None, np.array([2, 1], "int32"))
    # The second row is one token: nothing merges.
    np.testing.assert_allclose(ops.convert_to_numpy(top), [[11 / 6], [2.0]], 1e-6)


def test_an_unknown_encoder_is_named():
    with pytest.raises(ValueError, match="encoder must be one of gru, grconv, not 'cnn'"):
        ChoEncoderDecoder(11, encoder="cnn")
