"""Graphs beside the one of the contract."""

import numpy as np
import onnxruntime
import pytest

from zoo.contract import Decodable

pytestmark = [pytest.mark.keras, pytest.mark.slow]


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, inputs)


@pytest.mark.parametrize("size", [2, 7, 64, 65, 66, 300])
@pytest.mark.parametrize("k", [1, 3, 9])
def test_candidates_are_those_of_the_contract(size, k):
    from export import graphs

    random = np.random.default_rng(0)
    logits = random.normal(size=(4, size)).astype("float32") * 5
    logits[:, 0] = 30  # padding, which would be the best
    logits[1, 2::7] = 9  # equals
    logits[2, 1:] = 1
    logits[3, 2:] = -np.inf  # of what has no probability there is an order as well
    ids, log_probs = run(graphs.candidates(), logits=logits, k=np.array([k]))
    expected_ids, expected = Decodable().best(logits, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(log_probs, expected, atol=1e-6)


def test_rows_are_taken_of_every_leaf():
    import tensorflow as tf

    from export import graphs

    leaves = [
        tf.TensorSpec((None, 2, None, 3), tf.float32, "layer_0/key"),
        tf.TensorSpec((None, None), tf.int32, "positions"),
    ]
    state = {
        "layer_0/key": np.arange(36, dtype="float32").reshape(3, 2, 2, 3),
        "positions": np.arange(6, dtype="int32").reshape(3, 2),
    }
    rows = np.array([2, 2, 0, 1])
    taken = run(graphs.take(leaves), rows=rows, **state)
    for got, array in zip(taken, state.values(), strict=True):
        np.testing.assert_array_equal(got, array[rows])
