"""A batch shared among devices, and among processes, comes to the weights of one device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import distribution, run
from training.checkpoints import read
from training.recipe import UserError

ROOT = Path(__file__).parents[2]
BACKEND = os.environ["KERAS_BACKEND"]
DEVICES = {"jax": 8, "tensorflow": 2}.get(BACKEND, 1)
OPTIONS = """
fractions = [0.8, 0.2, 0.0]
samples = 0
[model]
architecture = "lstm"
units = 8
num_layers = 1
embedding_dim = 4
[optimizer]
learning_rate = 0.01
ema_momentum = 0.5
global_clipnorm = 1.0
[schedule]
name = "plateau"
"""
RECIPES = {
    "carried": "batch_size = 8\nwindow = 8\nsteps_per_epoch = 4",
    # Of 9 and 3 rows, which no number of devices here divides, and some rows are short.
    "bucketed": 'kind = "lines"\nbatch_tokens = 27\nbuckets = 2\nbatch_size = 9',
}
_MAIN = """
import json, sys, keras
from training import distribution, run
for arguments in json.loads(sys.argv[1]):
    run.main(arguments)
    keras.distribution.initialize = lambda: None  # processes that have joined stay together
"""
_LOGICAL_DEVICES = f"""
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * {DEVICES}
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text and recipes for it."""
    folder = tmp_path_factory.mktemp("distribution")
    letters = [(a, b) for a in "abcdef" for b in "uvwxyz"]
    lines = [f"{a}{b}" for a, b in letters] + [f"{a * 2}{b * 3}{a * 2}." for a, b in letters]
    (folder / "text.txt").write_text("\n".join(lines))
    for name, options in RECIPES.items():
        text = f'data = "{folder / "text.txt"}"\n{options}\n{OPTIONS}'
        (folder / f"{name}.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """With runs on one device in `alone`."""
    for name in RECIPES:
        run.main(arguments(folder, name, "alone", 2))
    return folder


def arguments(folder, name, runs, epochs, *more):
    recipe = ["--recipe", str(folder / f"{name}.toml"), "--runs", str(folder / runs)]
    return [*recipe, "--epochs", str(epochs), *more]


def start(code, *commands, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(commands)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def virtual_devices(number):
    flag = f"--xla_force_host_platform_device_count={number}"
    return {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}"}


def finish(process):
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def assert_as_alone(folder, runs, name):
    (arrays, info), (alone, expected) = (
        read(folder / where / name / "checkpoint.h5") for where in (runs, "alone")
    )
    assert arrays.keys() == alone.keys()
    for key, array in arrays.items():
        np.testing.assert_allclose(array, alone[key], 1e-5, 1e-5, err_msg=key)
    rows, others = (notes["notes"][-1]["rows"] for notes in (info, expected))
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for row, other in zip(rows, others):
        for value in ("loss", "val_nats", "val_top_5"):
            assert row[value] == pytest.approx(other[value], abs=1e-5)
    arrays, alone = (
        read(next((folder / where / name / "best").iterdir()))[0] for where in (runs, "alone")
    )
    for key, array in arrays.items():
        np.testing.assert_allclose(array, alone[key], 1e-5, 1e-5, err_msg=key)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras distributes on jax and tensorflow only")
@pytest.mark.parametrize("name", RECIPES)
def test_several_devices_are_as_one(trained, name):
    code = _LOGICAL_DEVICES + _MAIN if BACKEND == "tensorflow" else _MAIN
    command = arguments(trained, name, "devices", 2, "--distribution", "data")
    output = finish(start(code, command, **virtual_devices(DEVICES)))
    assert f"shared among {DEVICES} devices" in output
    assert_as_alone(trained, "devices", name)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "jax", reason="several processes join on jax only")
def test_two_processes_are_as_one(trained):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        **virtual_devices(2),
    }
    commands = [
        arguments(trained, name, "processes", epochs, "--distribution", "data")
        for name, epochs in {"bucketed": 2, "carried": 1}.items()
    ]
    first, second = (
        start(_MAIN, *commands, **together, KERAS_DISTRIBUTION_PROCESS_ID=str(number))
        for number in range(2)
    )
    assert finish(first).count("valid: ") == 5  # an epoch, or the end
    assert "valid: " not in finish(second)  # the first alone writes
    run.main(arguments(trained, "carried", "processes", 2))  # one goes on where two have stopped
    for name in RECIPES:
        assert_as_alone(trained, "processes", name)


def test_rows_with_a_state_must_be_shared_evenly(folder, monkeypatch):
    monkeypatch.setattr(distribution, "devices", lambda: 8)
    with pytest.raises(UserError, match="9 rows with a state cannot be shared among 8 devices"):
        run.main(arguments(folder, "carried", "refused", 1, "--batch-size", "9"))


@pytest.mark.parametrize("more", [[], ["--optimizer.gradient-accumulation-steps", "2"]])
def test_what_a_backend_cannot_is_refused_in_one_line(folder, monkeypatch, more):
    if BACKEND == "jax" or (BACKEND == "tensorflow" and not more):
        pytest.skip("this backend can")
    if BACKEND == "tensorflow":
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [None, None])
    with pytest.raises(UserError, match="set KERAS_BACKEND") as error:
        run.main(arguments(folder, "carried", "refused", 1, "--distribution", "data", *more))
    assert "\n" not in str(error.value)


def test_processes_that_cannot_join_are_refused(folder, monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="KERAS_DISTRIBUTION_NUM_PROCESSES goes with"):
        run.main(arguments(folder, "carried", "refused", 1))
