"""The exported graph agrees with the network: every architecture of the zoo with its options."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from keras import ops

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorFlow traces every graph"
    ),
]
_table = runpy.run_path(str(Path(__file__).parents[1] / "small_networks.py"))

# A row of 70 tokens, more than a chunk of linear attention; one of 2, and one of padding alone.
TOKENS = np.random.default_rng(0).integers(1, 11, (3, 70)).astype("int32")
TOKENS[np.arange(70) >= [[70], [2], [0]]] = 0
SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0], [7, 2, 1, 0]], "int32")


# No operator of ONNX has what these do between one token and the next.
ANNOTATIONS = {"memory/annotations", "memory/key", "memory/value"}
LOOPS = {"cho.decode", "bahdanau.decode", "luong.decode"}


def arrays(tensors):
    return {name: ops.convert_to_numpy(tensor) for name, tensor in tensors.items()}


def operators(graph):
    """Of a graph and those inside of it."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


def full(state):
    """The state, 0 in the empty slots of a source: no one looks there."""
    is_empty = state.get("memory/positions", np.zeros(0)) < 0
    return {
        name: np.where(is_empty[..., None], 0, array) if name in ANNOTATIONS else array
        for name, array in state.items()
    }


def assert_close(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        # Two programs sum in another order, over 70 tokens.
        np.testing.assert_allclose(actual[name], expected[name], 1e-4, 1e-4, err_msg=name)


@pytest.mark.parametrize("name", _table["SMALL"])
def test_the_graph_computes_what_the_network_does(name, tmp_path):
    import onnxruntime

    from export.convert import contract_functions
    from export.graphs import graph
    from export.weights import write

    network = _table["backbone"](name).network
    models = {part: graph(f) for part, f in contract_functions(network).items()}
    for part, model in models.items():
        loops = {"Loop", "Scan"} & set(operators(model.graph))
        assert bool(loops) == (f"{name.split('_')[0]}.{part}" in LOOPS or name == "cho_grconv")
    write(models, tmp_path)
    graphs = {part: onnxruntime.InferenceSession(tmp_path / f"{part}.onnx") for part in models}

    def run(part, **inputs):
        outputs = [output.name for output in graphs[part].get_outputs()]
        return dict(zip(outputs, graphs[part].run(outputs, inputs), strict=True))

    state = network.state_spec.initial(len(TOKENS))
    if "encode" in graphs:
        encoded = arrays(network.zeros(SOURCES) | network.encode(SOURCES))
        exported = run("encode", source_ids=SOURCES)
        exported = {n.removesuffix("_out"): x for n, x in exported.items()}
        assert_close(full(exported), full(encoded))
        state |= encoded
    # A prompt with padding, and then single tokens, one of them padding.
    for token_ids in (
        TOKENS,
        np.array([[7], [8], [9]], "int32"),
        np.array([[2], [0], [3]], "int32"),
    ):
        logits, new = network(token_ids, state)
        exported = run("decode", token_ids=token_ids, **state)
        new = arrays(new)
        real = (token_ids != 0)[..., None]
        ours = {"logits": np.where(real, ops.convert_to_numpy(logits), 0)}
        theirs = {"logits": np.where(real, exported.pop("logits"), 0)}
        assert_close(theirs, ours)
        assert_close({n.removesuffix("_out"): x for n, x in exported.items()}, new)
        state |= new
