"""Bengio's network against its equation, one token at a time in float64."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from zoo.backbone import Backbone
from zoo.models.bengio import BengioLanguageModel

_table = runpy.run_path(str(Path(__file__).parents[2] / "small_networks.py"))

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], "int32")


def expected_logits(weights, ids, normalization):
    """y = b + W x + U tanh(d + H x), the context `<eos> <eos> <eos>` before the first token."""
    context, logits = [1, 1, 1], []
    for token_id in ids:
        context = [*context[1:], token_id]
        x = np.concatenate([weights["token_embedding/embeddings"][i] for i in context])
        hidden = x @ weights["hidden/kernel"] + weights.get("hidden/bias", 0)
        if normalization:
            hidden = normalized(weights, hidden, normalization)
        y = np.tanh(hidden) @ weights["logits/kernel"] + weights["logits/bias"]
        logits.append(y + (x @ weights["direct/kernel"] if "direct/kernel" in weights else 0))
    return np.array(logits)


def normalized(weights, x, normalization):
    if normalization == "batch":
        mean = weights["normalization/moving_mean"]
        variance = weights["normalization/moving_variance"]
    else:
        groups = x.reshape(-1, 8) if normalization == "group" else x[None]
        mean = np.repeat(groups.mean(axis=1), groups.shape[1])
        variance = np.repeat(groups.var(axis=1), groups.shape[1])
    x = (x - mean) / np.sqrt(variance + 1e-3)
    return x * weights["normalization/gamma"] + weights["normalization/beta"]


@pytest.mark.parametrize("name", [n for n in _table["SMALL"] if n.startswith("bengio")])
def test_logits_are_those_of_the_equation(name):
    model = _table["backbone"](name)
    weights = _table["arrays"](model)
    normalization = _table["SMALL"][name][1].get("normalization")
    logits = ops.convert_to_numpy(model({"token_ids": TOKENS}))
    for row, ids in enumerate(TOKENS):
        # Float32 against float64, with logits of order one.
        expected = expected_logits(weights, ids, normalization)
        np.testing.assert_allclose(logits[row], expected, 1e-5, 1e-5)


def test_the_state_is_the_last_tokens():
    network = BengioLanguageModel(11, context_size=3)
    ids = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [0, 0, 0, 0, 0]], "int32")
    _, state = network(ids, network.state_spec.initial(3))
    expected = [[4, 1, 5], [1, 2, 6], [1, 1, 1]]
    np.testing.assert_array_equal(ops.convert_to_numpy(state["context"]), expected)


def test_batch_statistics_are_those_of_tokens_alone():
    model = Backbone(BengioLanguageModel(11, hidden_dim=8, normalization="batch"))
    model.compile(
        keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    ids = np.array([[3, 1, 4, 1], [2, 6, 0, 0]], "int32")
    model.fit({"token_ids": ids}, ids, verbose=0)
    network = model.network
    weights = _table["arrays"](model)
    windows = [[1, 1, 3], [1, 3, 1], [3, 1, 4], [1, 4, 1], [1, 1, 2], [1, 2, 6]]
    x = weights["token_embedding/embeddings"][np.array(windows)].reshape(6, -1)
    mean = (x @ weights["hidden/kernel"]).mean(axis=0)
    moved = 1 - network.normalization.momentum
    np.testing.assert_allclose(weights["normalization/moving_mean"], moved * mean, 1e-4, 1e-6)


def test_an_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match="batch, layer, group or None, not 'instance'"):
        BengioLanguageModel(11, normalization="instance")
