"""Recurrent models against their papers' equations, one token at a time in float64."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

_tests = Path(__file__).parents[2]
_table = runpy.run_path(str(_tests / "small_networks.py"))
_equations = runpy.run_path(str(_tests / "equations.py"))
gru_step, lstm_step, parts, sigmoid = map(
    _equations.get, ("gru_step", "lstm_step", "parts", "sigmoid")
)

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], "int32")
UNITS = 8


def elman_step(weights, name, x, h, options):
    ((w, u, b),) = parts(weights, name, 1)
    a = x @ w + h @ u + b
    return sigmoid(a) if options.get("activation") == "sigmoid" else np.tanh(a)


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
            x = gru_step(weights, name, x, h, options.get("reset_after", True))
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


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="against torch's own layers")
def test_lstm_layers_are_those_of_torch():
    import torch

    model = _table["backbone"]("sutskever")
    weights, network = _table["arrays"](model), model.network
    source = torch.tensor([[4, 8, 3, 1]])
    state = {}
    for side, ids in (("encoder", source.flip(1)), ("decoder", torch.tensor(TOKENS[:1]))):
        theirs = torch.nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True, dtype=torch.float64)
        for i in range(2):
            for ours, name in (("kernel", "weight_ih"), ("recurrent_kernel", "weight_hh")):
                kernel = torch.tensor(weights[f"{side}_layer_{i}/{ours}"].T)
                getattr(theirs, f"{name}_l{i}").data = kernel
            getattr(theirs, f"bias_ih_l{i}").data = torch.tensor(weights[f"{side}_layer_{i}/bias"])
            getattr(theirs, f"bias_hh_l{i}").data.zero_()
        table = "source_embedding" if side == "encoder" else "token_embedding"
        x = torch.tensor(weights[f"{table}/embeddings"])[ids]
        outputs, state = theirs(x, state or None)
    logits, new = network(TOKENS[:1], network.encode(source.numpy().astype("int32")))
    outputs = outputs.detach().numpy()
    assert_close(logits, outputs @ weights["logits/kernel"] + weights["logits/bias"])
    for i in range(2):
        assert_close(new[f"layer_{i}/h"], state[0][i].detach().numpy())
        assert_close(new[f"layer_{i}/c"], state[1][i].detach().numpy())
