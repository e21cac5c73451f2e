"""Weights of 8 bits: a quarter of the size, and products of integers."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LEAST = 4096  # elements of a weight that is worth it
_GREATEST = 127


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with int8 weights in its matrix products, in those of a single token as well.

    W[:, j] = scale_j Q[:, j], with one scale a column and no offset; the other factor is quantised
    as it comes, with one scale for all of it. So a result depends a little on what is computed
    together with it. Recurrent operators take what they share with a product as float32 again, and
    keep what is theirs alone; tables of embeddings stay as they are.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    _Quantizer(quantized.graph).run()
    onnx.checker.check_model(quantized)
    return quantized


class _Quantizer:
    def __init__(self, graph):
        self._graph = graph
        self._weights = {
            tensor.name: tensor
            for tensor in graph.initializer
            if tensor.data_type == TensorProto.FLOAT
            and len(tensor.dims) == 2
            and np.prod(tensor.dims) >= _LEAST
        }

    def run(self):
        products = {
            node.input[1]
            for graph in _graphs(self._graph)
            for node in graph.node
            if node.op_type == "MatMul" and node.input[1] in self._weights
        }
        again = []  # the weights as float32
        for name in sorted(products):
            self._replace(self._weights[name])
            parts = [f"{name}/cast", f"{name}/scale"]
            again.append(
                helper.make_node("Cast", [f"{name}/int8"], parts[:1], to=TensorProto.FLOAT)
            )
            again.append(helper.make_node("Mul", parts, [name]))
        for graph in _graphs(self._graph):
            _rewrite(graph, products)
        used = {
            name for graph in _graphs(self._graph) for node in graph.node for name in node.input
        }
        again = [node for node in again if node.output[0].removesuffix("/cast") in used]
        _set(self._graph.node, [*again, *self._graph.node])

    def _replace(self, tensor):
        """Of a weight, its integers and scales."""
        weight = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(weight).max(axis=0) / _GREATEST, np.finfo("float32").tiny)
        integers = np.rint(weight / scale).astype("int8")
        self._graph.initializer.remove(tensor)
        for name, array in (("int8", integers), ("scale", scale)):
            self._graph.initializer.append(numpy_helper.from_array(array, f"{tensor.name}/{name}"))


def _rewrite(graph, products):
    """Makes products of floats products of integers."""
    nodes, known = [], set()
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in products:
            nodes.append(node)
            continue
        x, weight = node.input
        (out,) = node.output
        parts = [f"{x}/{name}" for name in ("integers", "scale", "zero")]
        if x not in known:
            known.add(x)
            nodes.append(helper.make_node("DynamicQuantizeLinear", [x], parts))
        integers, scale, zero = parts
        nodes += [
            helper.make_node(
                "MatMulInteger",
                [integers, f"{weight}/int8", zero],
                [f"{out}/sum"],
            ),
            helper.make_node("Cast", [f"{out}/sum"], [f"{out}/cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [scale, f"{weight}/scale"], [f"{out}/scale"]),
            helper.make_node("Mul", [f"{out}/cast", f"{out}/scale"], [out]),
        ]
    _set(graph.node, nodes)


def _graphs(graph) -> Iterator[onnx.GraphProto]:
    """The graph and those inside of it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _set(repeated, messages):
    messages = [type(message).FromString(message.SerializeToString()) for message in messages]
    del repeated[:]
    repeated.extend(messages)
