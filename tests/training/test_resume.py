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
OPTIONS = """
tokenizer = "characters"
batch_size = 4
window = 8
steps_per_epoch = 7
keep = 2
average = true
samples = 0
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


@pytest.fixture
def start(tmp_path):
    """Starts a training in a process of its own."""
    text = "".join(f"{i} times {i} is {i * i}\n" for i in range(60))
    (tmp_path / "text.txt").write_text(text)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'data = "{tmp_path / "text.txt"}"\nepochs = {EPOCHS}\n{OPTIONS}')
    started = []

    def start(name):
        command = [sys.executable, "training/run.py", "--recipe", recipe, "--name", name]
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


def test_killed_and_resumed_is_unbroken(start, tmp_path):
    from training.checkpoints import read

    unbroken, killed = start("unbroken"), start("killed")
    checkpoint = tmp_path / "killed" / "checkpoint.h5"
    while not checkpoint.exists():
        assert killed.poll() is None, killed.stdout.read().decode()
        time.sleep(0.001)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    _, info = read(checkpoint)
    assert 1 <= info["epochs"] < EPOCHS

    resumed = start("killed")
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
        np.testing.assert_array_equal(array, others[name], err_msg=name)
    histories = [note.pop("rows") for note in (info["notes"][-1], other["notes"][-1])]
    for rows in histories:
        for row in rows:
            del row["seconds"]
    assert histories[0] == histories[1]
    assert info["notes"][:-1] == other["notes"][:-1]
