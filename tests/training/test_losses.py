"""Cross-entropy and accuracies against NumPy, each a mean over the tokens that count."""

import numpy as np
import pytest
from keras import ops

from training import losses

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 4, 7)).astype("float32")
TARGETS = RNG.integers(0, 7, (3, 4)).astype("int32")
WEIGHT = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], "float32")


def log_probabilities(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_and_without_smoothing(smoothing):
    target = np.eye(7)[TARGETS] * (1 - smoothing) + smoothing / 7
    expected = -(target * log_probabilities(LOGITS)).sum(axis=-1)
    loss = losses.cross_entropy(smoothing)(TARGETS, LOGITS, sample_weight=WEIGHT)
    mean = (expected * WEIGHT).sum() / WEIGHT.sum()
    np.testing.assert_allclose(ops.convert_to_numpy(loss), mean, rtol=1e-6)


def test_smoothing_by_hand():
    """Two tokens of probability 3/4 and 1/4; a fifth of the target is spread over both."""
    logits = np.log([[[0.75, 0.25]] * 3]).astype("float32")
    weight = np.array([[1, 1, 0]], "float32")
    loss = losses.cross_entropy(0.2)(np.array([[0, 1, 1]]), logits, sample_weight=weight)
    # 0.9 * 0.287682 + 0.1 * 1.386294, and 0.1 * 0.287682 + 0.9 * 1.386294.
    assert float(ops.convert_to_numpy(loss)) == pytest.approx((0.397543 + 1.276433) / 2, abs=1e-5)


def test_metrics_are_means_over_the_tokens_of_batches_of_any_shape():
    batches = [(LOGITS, TARGETS, WEIGHT), (LOGITS[:1, :2], TARGETS[:1, :2], WEIGHT[:1, :2])]
    nats, top_1, top_5 = found = losses.metrics()
    for logits, targets, weight in batches:
        for metric in found:
            metric.update_state(targets, logits, sample_weight=weight)
    sums = np.zeros(3)
    for logits, targets, weight in batches:
        chosen = np.take_along_axis(logits, targets[..., None], -1)
        rank = (logits > chosen).sum(axis=-1)
        nll = -np.take_along_axis(log_probabilities(logits), targets[..., None], -1)[..., 0]
        sums += [(values * weight).sum() for values in (nll, rank < 1, rank < 5)]
    tokens = sum(weight.sum() for *_, weight in batches)
    results = [float(ops.convert_to_numpy(metric.result())) for metric in (nats, top_1, top_5)]
    np.testing.assert_allclose(results, sums / tokens, rtol=1e-6)
    assert [metric.name for metric in found] == ["nats", "top_1", "top_5"]
