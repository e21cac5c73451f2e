"""The exported graphs, in both formats, agree with the network on every backend: every architecture
of the zoo with its options."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] != "tensorflow", reason="TensorFlow traces every graph"
    ),
]
BACKENDS = ("jax", "torch", "tensorflow")
PROGRAM = Path(__file__).with_name("network_values.py")
_table = runpy.run_path(str(Path(__file__).parents[1] / "small_networks.py"))
_values = runpy.run_path(str(PROGRAM))

# No operator of ONNX has what these do between one token and the next.
LOOPS = {f"{name}EncoderDecoder.decode" for name in ("Cho", "Bahdanau", "Luong")}


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    """By backend, what each network computes there with the same weights; all of them at once."""
    from filelock import FileLock

    # Processes of one run share what the first of them makes.
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "computed"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            root.mkdir()
            for backend in BACKENDS:
                environment = {**os.environ, "KERAS_BACKEND": backend}
                command = [sys.executable, PROGRAM, root / f"{backend}.npz"]
                subprocess.run(command, env=environment, check=True)
    return {backend: dict(np.load(root / f"{backend}.npz")) for backend in BACKENDS}


def operators(graph):
    """Of a graph and those inside of it."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield from operators(attribute.g)


def in_onnx(network, functions, directory):
    """A function that runs a part in ONNX Runtime: arrays by name in, and out."""
    import onnxruntime

    from export import graphs, weights

    models = {part: graphs.graph(function) for part, function in functions.items()}
    for part, model in models.items():
        has_loop = not {"Loop", "Scan"}.isdisjoint(operators(model.graph))
        name = type(network).__name__
        grconv = network.get_config().get("encoder") == "grconv"
        assert has_loop == (f"{name}.{part}" in LOOPS or grconv)
    weights.write(models, directory)
    sessions = {part: onnxruntime.InferenceSession(directory / f"{part}.onnx") for part in models}

    def run(part, inputs):
        session = sessions[part]
        outputs = [output.name for output in session.get_outputs()]
        return dict(zip(outputs, session.run(outputs, inputs), strict=True))

    return run


def in_tensorflow(network, functions, directory):
    """The same of a SavedModel."""
    import tensorflow as tf

    from export import saved_model

    saved_model.write(network, functions, directory / "saved_model")
    loaded = tf.saved_model.load(str(directory / "saved_model"))
    names = {saved_model.identifier(leaf.name): leaf.name for leaf in network.state_spec}

    def run(part, inputs):
        tensors = {saved_model.identifier(n): tf.constant(x) for n, x in inputs.items()}
        outputs = loaded.signatures[part](**tensors)
        leaf = {f"{name}_out": f"{own}_out" for name, own in names.items()}
        return {leaf.get(name, name): tensor.numpy() for name, tensor in outputs.items()}

    return run


def values(run, network):
    """What `network_values.values` gives, of graphs."""
    state, found = network.state_spec.initial(len(_values["TOKENS"])), {}
    state.pop("cursor", None)
    if hasattr(network, "encode"):
        encoded = own_names(run("encode", {"source_ids": _values["SOURCES"]}))
        found |= {f"encode/{name}": array for name, array in encoded.items()}
        state |= encoded
    for i, token_ids in enumerate(_values["CALLS"]):
        outputs = own_names(run("decode", {"token_ids": token_ids, **state}))
        found |= {f"{i}/{name}": array for name, array in outputs.items()}
        state |= {name: array for name, array in outputs.items() if name != "logits"}
    return found


def own_names(outputs):
    return {name.removesuffix("_out"): array for name, array in outputs.items()}


def that_count(found):
    """The arrays without what nobody reads: logits of padding, and empty slots of a source."""
    masks = {f"{i}/logits": ids != 0 for i, ids in enumerate(_values["CALLS"])}
    is_filled = found.get("encode/memory/positions", np.zeros((0, 0))) >= 0
    masks |= {f"encode/memory/{name}": is_filled for name in ("annotations", "key", "value")}
    return {
        name: array[masks[name]] if name in masks and array.ndim == 3 else array
        for name, array in found.items()
    }


@pytest.mark.parametrize("form", [in_onnx, in_tensorflow])
@pytest.mark.parametrize("name", _table["SMALL"])
def test_the_graphs_compute_what_the_network_does(name, form, computed, tmp_path):
    from export.convert import contract_functions

    network = _table["backbone"](name).network
    run = form(network, contract_functions(network), tmp_path)
    ours = that_count(values(run, network))
    for backend, arrays in computed.items():
        own = {n.removeprefix(f"{name}/"): x for n, x in arrays.items() if n.startswith(f"{name}/")}
        theirs = that_count(own)
        assert ours.keys() == theirs.keys()
        for key, expected in theirs.items():
            # Two programs sum in another order, over 70 tokens.
            said = f"{key} on {backend}"
            np.testing.assert_allclose(ours[key], expected, 1e-4, 1e-4, err_msg=said)
