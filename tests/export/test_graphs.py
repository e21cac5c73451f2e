"""Graphs around the one of the contract, and the file of weights that all share."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, load, numpy_helper

from zoo.contract import Decodable

graphs = pytest.importorskip("export.graphs")
pytestmark = [pytest.mark.keras, pytest.mark.slow]


def run(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, inputs)


@pytest.mark.parametrize("k", [1, 3, 9])
def test_candidates_are_those_of_the_contract(k):
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 4, 7)).astype("float32") * 5
    logits[..., 0] = 30  # padding, which would be the best
    logits[1, 1, 2:5] = 9  # equals
    token_ids = np.array([[4, 2, 1, 3], [5, 6, 0, 0], [0, 0, 0, 0]], "int32")
    ids, log_probs = run(graphs.candidates(), logits=logits, token_ids=token_ids, k=np.array([k]))
    expected_ids, expected = Decodable().best(logits, token_ids, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(log_probs, expected, atol=1e-6)


def test_rows_are_taken_of_every_leaf():
    import tensorflow as tf

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


def product(weight):
    """`y = x W`, with W under the name `w`."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, None]) for n in "xy"]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "product",
            values[:1],
            values[1:],
            [numpy_helper.from_array(weight, "w")],
        ),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )


def test_a_weight_is_in_the_file_once(tmp_path):
    weight = np.random.default_rng(0).normal(size=(30, 40)).astype("float32")
    weights = {"one": weight, "same": weight.copy(), "turned": weight.T.copy(), "other": weight + 1}
    graphs.write({name: product(array) for name, array in weights.items()}, tmp_path)
    assert (tmp_path / graphs.WEIGHTS).stat().st_size == 2 * weight.nbytes
    for name, array in weights.items():
        assert (tmp_path / f"{name}.onnx").stat().st_size < 1000
        x = np.eye(len(array), dtype="float32")
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], array)


def test_small_weights_stay_in_the_graph(tmp_path):
    graphs.write({"small": product(np.ones((3, 4), "float32"))}, tmp_path)
    (tensor,) = load(tmp_path / "small.onnx").graph.initializer
    assert tensor.raw_data
