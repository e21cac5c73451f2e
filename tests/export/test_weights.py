"""The file of weights that all graphs of a directory share."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export import weights
from export.quantize import quantize


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
    arrays = {"one": weight, "same": weight.copy(), "turned": weight.T.copy(), "other": weight + 1}
    weights.write({name: product(array) for name, array in arrays.items()}, tmp_path)
    assert (tmp_path / weights.WEIGHTS).stat().st_size == 2 * weight.nbytes
    for name, array in arrays.items():
        assert (tmp_path / f"{name}.onnx").stat().st_size < 1000
        x = np.eye(len(array), dtype="float32")
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], array)


def test_small_weights_stay_in_the_graph(tmp_path):
    weights.write({"small": product(np.ones((3, 4), "float32"))}, tmp_path)
    (tensor,) = onnx.load(tmp_path / "small.onnx").graph.initializer
    assert tensor.raw_data


def test_graphs_are_rewritten_with_their_weights(tmp_path):
    weight = np.random.default_rng(0).normal(size=(64, 70)).astype("float32")
    weights.write({"product": product(weight)}, tmp_path)
    weights.rewrite(tmp_path, quantize)
    assert (tmp_path / weights.WEIGHTS).stat().st_size < weight.nbytes / 3
    session = onnxruntime.InferenceSession(tmp_path / "product.onnx")
    (got,) = session.run(None, {"x": np.eye(64, dtype="float32")})
    np.testing.assert_allclose(got, weight, atol=0.04)
