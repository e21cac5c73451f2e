"""Bigram models: counts worked by hand, and the network that learns them."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.backbone import Backbone
from zoo.models.bigram import NEVER, BigramCounts, BigramNetwork

# `<eos>` is 1; a is 3, b is 4: the texts "ab", "aab" and "b".
TEXTS = [[1, 3, 4, 1], [1, 3, 3, 4, 1], [1, 4, 1]]
# From <eos>: a twice, b once. From a: a once, b twice. From b: three times <eos>.
COUNTS = {1: {3: 2, 4: 1}, 3: {3: 1, 4: 2}, 4: {1: 3}}


def probabilities(network):
    return np.exp(ops.convert_to_numpy(network(np.arange(5, dtype="int32")[None])[0])[0])


def test_probabilities_are_shares_of_the_counts():
    network = BigramCounts(5)
    network.adapt(TEXTS)
    given = probabilities(network)
    for first, row in COUNTS.items():
        expected = [row.get(second, 0) / 3 for second in range(5)]
        np.testing.assert_allclose(given[first], expected, atol=1e-7)


def test_smoothing_adds_to_every_count_but_that_of_padding():
    network = BigramCounts(5, smoothing=0.5)
    network.adapt(TEXTS)
    given = probabilities(network)
    # Four tokens may come next, each with half a count more: 3 + 4 / 2 = 5 in all.
    np.testing.assert_allclose(given[1], [0, 0.1, 0.1, 0.5, 0.3], atol=1e-7)
    np.testing.assert_allclose(given[2], [0, 0.25, 0.25, 0.25, 0.25], atol=1e-7)  # never seen
    assert given[:, 0].max() == 0


def test_padding_is_no_neighbour():
    padded = np.array([row + [0] * (5 - len(row)) for row in TEXTS])
    by_text, by_batch = BigramCounts(5), BigramCounts(5)
    by_text.adapt(TEXTS)
    by_batch.adapt([padded[:2], padded[2:]])
    np.testing.assert_array_equal(probabilities(by_text), probabilities(by_batch))


def test_what_was_never_seen_has_a_finite_logit():
    network = BigramCounts(5)
    network.adapt(TEXTS)
    logits = ops.convert_to_numpy(network(np.array([[4, 2]], "int32"))[0])[0]
    assert logits[0].tolist() == [NEVER, 0, NEVER, NEVER, NEVER]
    assert logits[1].tolist() == [NEVER] * 5


def test_the_network_learns_the_counts():
    transitions = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 5)
    generator = np.random.default_rng(1)
    ids = [1]
    for _ in range(600):
        ids.append(1 + generator.choice(5, p=transitions[ids[-1] - 1]))
    ids = np.array([ids], "int32")

    counted = BigramCounts(6)
    counted.adapt(ids)
    log_probabilities = ops.convert_to_numpy(counted(ids[:, :-1])[0])[0]
    entropy = -log_probabilities[range(600), ids[0, 1:]].mean()

    model = Backbone(BigramNetwork(6))
    model.compile(
        keras.optimizers.Adam(0.3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit({"token_ids": ids[:, :-1]}, ids[:, 1:], epochs=150, verbose=0)
    assert history.history["loss"][-1] == pytest.approx(entropy, abs=0.005)
    assert history.history["loss"][0] > entropy + 0.1


def test_the_penalty_is_of_the_mean_square():
    network = BigramNetwork(6, penalty=0.01)
    weights = ops.convert_to_numpy(network.weights_by_token)
    penalty = ops.convert_to_numpy(sum(network.losses))
    assert penalty == pytest.approx(0.01 * (weights**2).mean(), rel=1e-5)
    assert not BigramNetwork(6).losses
