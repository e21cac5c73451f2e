"""Weights of 8 bits."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.quantize import quantize


def product(weight):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, None]) for n in "xyz"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Transpose", ["w"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes, "product", values[:1], values[1:], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def run(model, **inputs):
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)


def test_each_column_has_its_scale():
    random = np.random.default_rng(0)
    weight = random.normal(size=(64, 70)) * 10.0 ** np.linspace(-3, 3, 70)
    weight[:, 5] = 0
    model = quantize(product(weight.astype("float32")))
    x = random.normal(size=(9, 64)).astype("float32")
    y, z = run(model, x=x)
    steps = np.abs(weight).max(axis=0) / 127
    # Whoever else uses the weight has it to half a step.
    assert (np.abs(z.T - weight) <= 0.501 * steps + 1e-12).all()
    # The errors of 64 roundings on each side, of x to 1/255 of its range.
    size = np.ptp(x) / 255 * np.abs(weight).sum(axis=0) / 2 + 32 * steps * np.abs(x).max()
    assert (np.abs(y - x @ weight) <= size + 1e-12).all()
    sizes = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert sizes["w/int8"] == TensorProto.INT8
    assert "w" not in sizes


def test_a_small_weight_stays_as_it_is():
    model = product(np.ones((3, 4), "float32"))
    assert quantize(model) == model


@pytest.mark.slow
@pytest.mark.skipif(os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorFlow traces graphs")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "Luong", "Vaswani"])
def test_a_network_says_nearly_the_same(name):
    """Both for one token and for several, where a recurrent operator shares its weights."""
    from export.convert import contract_functions
    from export.graphs import graph
    from zoo.backbone import Backbone, EncoderDecoderBackbone
    from zoo.models import gru, lstm, luong, vaswani

    make = {
        "LSTM": lambda: lstm.LSTMLanguageModel(90, units=64, peephole=True),
        "GRU": lambda: gru.GRULanguageModel(90, units=64),
        "Luong": lambda: luong.LuongEncoderDecoder(90, units=64, num_layers=1),
        "Vaswani": lambda: vaswani.VaswaniEncoderDecoder(90, num_layers=1, hidden_dim=64),
    }
    network = make[name]()
    wrap = EncoderDecoderBackbone if hasattr(network, "encode") else Backbone
    network = wrap(network).network
    models = {part: graph(f) for part, f in contract_functions(network).items()}
    source_ids = np.random.default_rng(0).integers(1, 90, (2, 5)).astype("int32")
    state = network.state_spec.initial(2)
    if "encode" in models:
        names = [output.name.removesuffix("_out") for output in models["encode"].graph.output]
        state |= dict(zip(names, run(models["encode"], source_ids=source_ids)))
    inputs = {value.name for value in models["decode"].graph.input} - {"token_ids"}
    for time in (1, 4):
        given = {"token_ids": source_ids[:, :time], **{n: state[n] for n in inputs}}
        where = [output.name for output in models["decode"].graph.output].index("logits")
        exact = run(models["decode"], **given)[where]
        close = run(quantize(models["decode"]), **given)[where]
        assert 0 < np.abs(close - exact).mean() < 0.02 * np.abs(exact).std()
