"""Recurrent models against their papers' equations, one token at a time in float64."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from keras import ops

_table = runpy.run_path(str(Path(__file__).parents[2] / "small_networks.py"))

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], "int32")
UNITS = 8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def parts(weights, name, count):
    """The kernel, the recurrent kernel and the bias of each of so many gates."""
    of_gates = (weights[f"{name}/{w}"] for w in ("kernel", "recurrent_kernel", "bias"))
    return zip(*(np.split(w, count, axis=-1) for w in of_gates), strict=True)


def elman_step(weights, name, x, h, options):
    ((w, u, b),) = parts(weights, name, 1)
    a = x @ w + h @ u + b
    return sigmoid(a) if options.get("activation") == "sigmoid" else np.tanh(a)


def lstm_step(weights, name, x, h, c):
    """Graves 2013, equations 7 to 11; gates lie in the order i, f, g, o."""
    (wi, ui, bi), (wf, uf, bf), (wg, ug, bg), (wo, uo, bo) = parts(weights, name, 4)
    pi, pf, po = weights.get(f"{name}/peepholes", np.zeros((3, UNITS)))
    i = sigmoid(x @ wi + h @ ui + pi * c + bi)
    f = sigmoid(x @ wf + h @ uf + pf * c + bf)
    c = f * c + i * np.tanh(x @ wg + h @ ug + bg)
    o = sigmoid(x @ wo + h @ uo + po * c + bo)
    return o * np.tanh(c), c


def gru_step(weights, name, x, h, options):
    """Cho et al. 2014, equations 5 to 8; gates lie in the order z, r, g."""
    (wz, uz, bz), (wr, ur, br), (wg, ug, bg) = parts(weights, name, 3)
    z, r = sigmoid(x @ wz + h @ uz + bz), sigmoid(x @ wr + h @ ur + br)
    if options.get("reset_after", True):
        g = np.tanh(x @ wg + bg + r * (h @ ug + weights[f"{name}/recurrent_bias"]))
    else:
        g = np.tanh(x @ wg + bg + (r * h) @ ug)
    return z * h + (1 - z) * g


def read(weights, token_id, state, options):
    """One token through any of the language models: its logits; `state` is changed."""
    embedded = x = weights["token_embedding/embeddings"][token_id]
    if "h" in state:
        state["h"] = x = elman_step(weights, "hidden", x, state["h"], options)
        return x @ weights["logits/kernel"] + weights["logits/bias"]
    outputs = []
    for i in range(2):
        name = f"layer_{i}"
        if options.get("skip_connections") and i:
            x = np.concatenate([x, embedded])
        h = state[f"{name}/h"]
        if f"{name}/c" in state:
            x, state[f"{name}/c"] = lstm_step(weights, name, x, h, state[f"{name}/c"])
        else:
            x = gru_step(weights, name, x, h, options)
        state[f"{name}/h"] = x
        outputs.append(x)
    if options.get("skip_connections"):
        x = np.concatenate(outputs)
    return x @ weights["logits/kernel"] + weights["logits/bias"]


def assert_close(actual, expected):
    # Float32 against float64, with numbers of order one.
    np.testing.assert_allclose(ops.convert_to_numpy(actual), expected, 1e-5, 1e-5)


@pytest.mark.parametrize(
    "name", ["elman", "elman_sigmoid", "lstm", "lstm_graves", "gru", "gru_reset_before"]
)
def test_logits_and_states_are_those_of_the_equations(name):
    model = _table["backbone"](name)
    weights, options = _table["arrays"](model), _table["SMALL"][name][1]
    network = model.network
    logits, state = network(TOKENS, network.state_spec.initial(len(TOKENS)))
    for row, ids in enumerate(TOKENS):
        expected = {leaf.name: np.zeros(UNITS) for leaf in network.state_spec}
        assert_close(logits[row], [read(weights, i, expected, options) for i in ids])
        for leaf in network.state_spec:
            assert_close(state[leaf.name][row], expected[leaf.name])


def test_a_translation_begins_where_the_reversed_source_ends():
    model = _table["backbone"]("sutskever")
    weights, network = _table["arrays"](model), model.network
    sources = np.array([[3, 8, 4, 1], [5, 1, 0, 0]], "int32")
    state = network.encode(sources)
    logits, _ = network(TOKENS, state)
    for row, source in enumerate([[1, 4, 8, 3], [1, 5]]):
        layers = [(np.zeros(UNITS), np.zeros(UNITS)) for _ in range(2)]

        def advance(side, x, layers=layers):
            for i, (h, c) in enumerate(layers):
                layers[i] = x, _ = lstm_step(weights, f"{side}_layer_{i}", x, h, c)
            return x

        for token_id in source:
            advance("encoder", weights["source_embedding/embeddings"][token_id])
        for i, (h, c) in enumerate(layers):
            assert_close(state[f"layer_{i}/h"][row], h)
            assert_close(state[f"layer_{i}/c"][row], c)
        for t, token_id in enumerate(TOKENS[row]):
            x = advance("decoder", weights["token_embedding/embeddings"][token_id])
            assert_close(logits[row, t], x @ weights["logits/kernel"] + weights["logits/bias"])
