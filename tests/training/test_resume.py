"""A run that is killed goes on to the very weights of a run that is not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.keras  # in other processes

ROOT = Path(__file__).parents[2]
EPOCHS = 5

# With all that a checkpoint has to hold: a carried state, dropout's seeds, moments, averages,
# accumulated gradients, what the best epochs were, and a callback's patience.
CARRIED = """
window = 8
steps_per_epoch = 7
deterministic = true

[model]
architecture = "lstm"
units = 8
num_layers = 1
dropout = 0.3

[optimizer]
learning_rate = 0.01
ema_momentum = 0.9
gradient_accumulation_steps = 2

[schedule]
name = "plateau"
"""
# And the order of batches of unlike lengths, running statistics, a rate that depends on the step.
BUCKETED = """
kind = "lines"
buckets = 2
early_stopping = 9

[model]
architecture = "bengio"
hidden_dim = 8
normalization = "batch"
dropout = 0.3

[optimizer]
name = "adamw"
learning_rate = 0.01
weight_decay = 0.1

[schedule]
name = "cosine"
warmup_steps = 3
"""
COMMON = f"""
epochs = {EPOCHS}
batch_size = 4
fractions = [0.8, 0.2, 0.0]
keep = 2
average = true
samples = 0
"""


@pytest.fixture
def start(tmp_path):
    """Starts a training in a process of its own."""
    text = "".join(f"{a}{b}\n{a} and {b}\n" for a in "abcdef" for b in "uvwxyz")
    (tmp_path / "text.txt").write_text(text)
    started = []

    def start(recipe, name):
        path = tmp_path / "recipe.toml"
        path.write_text(f'data = "{tmp_path / "text.txt"}"\n{COMMON}\n{recipe}')
        command = [sys.executable, "training/run.py", "--recipe", path, "--name", name]
        process = subprocess.Popen(
            [*command, "--runs", tmp_path],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "tolerance"), [(CARRIED, 0), (BUCKETED, 1e-5)], ids=["carried", "bucketed"]
)
def test_killed_and_resumed_is_unbroken(start, tmp_path, recipe, tolerance):
    from training.checkpoints import read

    unbroken, killed = start(recipe, "unbroken"), start(recipe, "killed")
    checkpoint = tmp_path / "killed" / "checkpoint.h5"
    while not checkpoint.exists():
        assert killed.poll() is None, killed.stdout.read().decode()
        time.sleep(0.001)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    _, info = read(checkpoint)
    assert 1 <= info["epochs"] < EPOCHS

    resumed = start(recipe, "killed")
    for process in (unbroken, resumed):
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output
    assert f"going on after epoch {info['epochs']}" in output
    (arrays, info), (others, other) = (
        read(tmp_path / name / "checkpoint.h5") for name in ("killed", "unbroken")
    )
    assert info["epochs"] == EPOCHS
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, others[name], tolerance, tolerance, err_msg=name)
    histories = [note.pop("rows") for note in (info["notes"][-1], other["notes"][-1])]
    for one, two in zip(*histories, strict=True):
        del one["seconds"], two["seconds"]
        assert one == pytest.approx(two, rel=tolerance, abs=tolerance)
    if not tolerance:
        assert info["notes"][:-1] == other["notes"][:-1]
