"""Weights as integers of 8 bits."""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the weights of its products as integers, a scale a column."""
    with tempfile.TemporaryDirectory() as directory:
        before, after = Path(directory, "before.onnx"), Path(directory, "after.onnx")
        onnx.save(model, before)
        quantize_dynamic(
            before,
            after,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        sorted_model = ONNXModel(onnx.load(after))
    sorted_model.topological_sort()  # it is not, where constants are dequantized
    return sorted_model.model
