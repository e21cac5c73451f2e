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
_calls = runpy.run_path(str(PROGRAM))


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


def outputs_of(run, has_encoder):
    """By call and name, what graphs compute; `run(graph, inputs)` gives outputs by name."""
    state, found = run.state_spec.initial(len(_calls["TOKENS"])), {}
    if has_encoder:
        encoded = run("encode", {"source_ids": _calls["SOURCES"]})
        state |= {name.removesuffix("_out"): x for name, x in encoded.items()}
        found |= {f"encode/{name.removesuffix('_out')}": x for name, x in encoded.items()}
    for i, token_ids in enumerate(_calls["CALLS"]):
        outputs = run("decode", {"token_ids": token_ids, **state})
        found |= {f"{i}/{name.removesuffix('_out')}": x for name, x in outputs.items()}
        state |= {n.removesuffix("_out"): x for n, x in outputs.items() if n != "logits"}
    return found
