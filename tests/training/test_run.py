"""A run from its command line to its directory, and what it says where it cannot be."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from training import recipe, run
from training.data.download import DataError
from training.recipe import UserError

pytestmark = pytest.mark.keras  # `run` imports it when it has something to do

ROOT = Path(__file__).parents[2]
TEXT = "".join(f"{i} times {i} is {i * i}\n" for i in range(60))
TINY = """
batch_size = 4
window = 8
epochs = 2
steps_per_epoch = 3
samples = 1
sample_length = 8
[model]
architecture = "lstm"
units = 8
num_layers = 1
embedding_dim = 4
[schedule]
name = "cosine"
"""


@pytest.fixture
def tiny(tmp_path):
    """Arguments for a small recipe on a small text, in folders of its own."""
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "tiny.toml").write_text(f'data = "{tmp_path / "text.txt"}"\n{TINY}')
    return ["--recipe", str(tmp_path / "tiny.toml"), "--runs", str(tmp_path / "runs")]


def start(arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "training/run.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores interrupts, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_run_leaves_a_directory_and_can_be_had_for_longer(tiny, tmp_path, capsys):
    results = tmp_path / "all.csv"
    run.main([*tiny, "--name", "a", "--results", str(results), "--tensorboard", "--keep", "2"])
    folder = tmp_path / "runs" / "a"
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("recipe.toml", "versions.json", "log.txt", "history.csv", "curves.png", "preset"),
        *("results.csv", "checkpoint.h5", "best", "tensorboard"),
    }
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (
        json.loads((folder / "versions.json").read_text())["backend"] == os.environ["KERAS_BACKEND"]
    )
    assert tomllib.loads((folder / "recipe.toml").read_text())["model"]["units"] == 8
    assert list((folder / "tensorboard").rglob("events.out*"))
    (row,) = csv.DictReader((folder / "results.csv").open())
    assert (row["run"], row["architecture"], row["steps"], row["seed"]) == ("a", "lstm", "6", "0")
    assert 2 < float(row["test_nats"]) < 4
    assert results.read_text() == (folder / "results.csv").read_text()
    assert "test: " in capsys.readouterr().out
    history = (folder / "history.csv").read_text()

    tiny = [*tiny, "--keep", "2"]
    run.main([*tiny, "--name", "a"])
    assert "has finished" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"other settings \(seed: 0, 1\)"):
        run.main([*tiny, "--name", "a", "--seed", "1"])
    run.main([*tiny, "--name", "a", "--epochs", "3", "--samples", "0"])
    assert "going on after epoch 2" in capsys.readouterr().out
    assert (folder / "history.csv").read_text().startswith(history)
    with pytest.raises(UserError, match="has 3 epochs: ask for --epochs 3 or more"):
        run.main([*tiny, "--name", "a", "--epochs", "1"])
    run.main([*tiny, "--name", "a", "--seed", "1", "--restart"])
    assert len((folder / "history.csv").read_text().splitlines()) == 3


def test_the_preset_of_a_run_writes_and_scores_as_the_run_said(tiny, tmp_path):
    import keras_hub

    import zoo
    from training import evaluate, inputs

    run.main([*tiny, "--name", "b", "--keep", "2", "--average"])
    folder = tmp_path / "runs" / "b"
    task = zoo.load(folder / "preset")
    assert isinstance(task, keras_hub.models.CausalLM)
    data = inputs.load(recipe.parse(tiny).text)
    planner = evaluate.exact(data, "test", task.backbone.network, window=8)
    scores = evaluate.scorer(task.backbone, planner, data.characters("test"))()
    (row,) = csv.DictReader((folder / "results.csv").open())
    assert scores["nats"] == pytest.approx(float(row["test_nats"]), abs=1e-4)


def test_the_loss_is_a_mean_over_tokens(tiny, tmp_path):
    # Batches of about as many tokens: many short lines in one, or few long ones.
    (tmp_path / "text.txt").write_text("\n".join(["ab"] * 24 + ["abcdefgh" * 3] * 4))
    parts = [f"--{part}={tmp_path / 'text.txt'}" for part in ("train", "valid")]
    batches = ["--kind", "lines", "--batch-tokens", "25", "--buckets", "2"]
    still = ["--optimizer.learning-rate", "0", "--epochs", "1", "--steps-per-epoch", "None"]
    run.main([*tiny, "--name", "m", *parts, *batches, *still])
    (epoch,) = csv.DictReader((tmp_path / "runs/m/history.csv").open())
    assert float(epoch["loss"]) == pytest.approx(float(epoch["val_nats"]), abs=1e-5)


def test_an_early_stop_is_an_end(tiny, tmp_path, capsys):
    arguments = [*tiny, "--name", "c", "--epochs", "9", "--early-stopping", "1"]
    run.main([*arguments, "--optimizer.learning-rate", "0", "--schedule.name", "constant"])
    assert "epoch 2 " in capsys.readouterr().out
    folder = tmp_path / "runs" / "c"
    assert len((folder / "history.csv").read_text().splitlines()) < 10
    later = tmp_path / "later.csv"
    run.main(
        [
            *arguments,
            "--optimizer.learning-rate",
            "0",
            "--schedule.name",
            "constant",
            "--results",
            str(later),
        ]
    )
    assert later.read_text() == (folder / "results.csv").read_text()
    (folder / "results.csv").unlink()  # as if killed after the training
    capsys.readouterr()
    run.main([*arguments, "--optimizer.learning-rate", "0", "--schedule.name", "constant"])
    said = capsys.readouterr().out
    assert "epoch" not in said.split("going on after epoch")[1][3:]
    assert (folder / "results.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere.txt"], "no data named nowhere.txt"),
        (["--recipe", "lstm_python_referense"], "perhaps you meant lstm_python_reference"),
        (["--data", "grammar_en_fr", "--size", "9"], "the data has pairs of texts"),
        (["--monitor", "bleu"], "--monitor bleu is for translations"),
        (["--joint-vocabulary", "--size", "9"], "leave out size=9"),
        (["--tokenizer", "byte_pairs"], "vocabulary_size"),
        (["--valid", "a.txt"], "--train"),
        (["--train", "a.txt", "--split", "reference"], "--train and --split contradict"),
        (["--fractions", "1", "0", "0"], "has no valid part"),
        (["--batch-tokens", "64"], "--batch-tokens is for lines or pairs"),
        (["--kind", "lines", "--crops", "random"], "--crops is for stream"),
        (["--source-vocabulary-size", "9"], "--source-vocabulary-size is for pairs"),
        (["--schedule.name", "plateau", "--schedule.warmup-steps", "2"], "leave one out"),
        (["--schedule.name", "plateau", "--schedule.cooldown-steps", "2"], "leave one out"),
        (["--results", __file__], "has other columns"),
        (["--runs", "/dev/null"], "cannot make /dev/null"),
        (["--model.dropout", "7"], "model: "),
        (["--train", "a.txt", "--target", "b.txt"], "--target and --size go with --data"),
        (["--optimizer.momentum", "0.5"], "optimizer adam: "),
    ],
)
def test_a_mistake_is_one_line(tiny, arguments, said):
    with pytest.raises((UserError, DataError)) as error:
        run.main([*tiny, *arguments])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_carried_needs_a_state_of_a_fixed_size(tiny, tmp_path):
    path = tmp_path / "transformer.toml"
    path.write_text('crops = "carried"\nmodel.architecture = "transformer"')
    with pytest.raises(UserError, match="--crops carried: transformer has no state"):
        run.main(["--recipe", str(path), "--data", str(tmp_path / "text.txt"), *tiny[2:]])


@pytest.mark.slow
def test_half_precision_comes_to_about_the_same(tiny, tmp_path):
    losses = []
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        run.main([*tiny, "--name", policy, "--dtype", policy, "--samples", "0"])
        with (tmp_path / "runs" / policy / "history.csv").open() as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file)])
    for rough in losses[1:]:
        assert rough == pytest.approx(losses[0], abs=2e-3)
        assert rough != losses[0]


def test_a_mistake_does_not_take_the_directory(tiny):
    with pytest.raises(UserError, match="optimizer adam"):
        run.main([*tiny, "--name", "f", "--optimizer.momentum", "0.5"])
    run.main([*tiny, "--name", "f", "--epochs", "1"])


# === Translations ===


@pytest.fixture
def translator(tmp_path):
    """Arguments for a translator of letters to upper case, from a pair of files."""
    words = [f"{a}{b}{c}" for a in "abc" for b in "abcd" for c in "abcde"]
    (tmp_path / "a.txt").write_text("".join(f"{word}\n" for word in words))
    (tmp_path / "b.txt").write_text("".join(f"{word.upper()}\n" for word in words))
    (tmp_path / "t.toml").write_text(TINY.replace('"lstm"', '"sutskever"'))
    data = ["--data", str(tmp_path / "a.txt"), "--target", str(tmp_path / "b.txt")]
    recipe = ["--recipe", str(tmp_path / "t.toml"), "--runs", str(tmp_path / "runs"), "--name", "t"]
    return [*recipe, *data, "--samples", "0", "--buckets", "1", "--joint-vocabulary"]


def test_a_translator_is_judged_by_its_bleu(translator, tmp_path):
    """Which falls where the likelihood may rise, so that the training stops."""
    import zoo
    from training import inputs, translation

    run.main([*translator, "--monitor", "bleu", "--bleu-sentences", "5", "--early-stopping", "2"])
    folder = tmp_path / "runs" / "t"
    history = list(csv.DictReader((folder / "history.csv").open()))
    (row,) = csv.DictReader((folder / "results.csv").open())
    assert all(0 <= float(epoch["val_bleu"]) <= 100 for epoch in history)
    assert row["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert float(row["test_chrf"]) >= 0
    assert row["train_bleu"] == row["valid_bleu"] == ""
    # What is saved gives the scores that are noted, of the epoch with the best of them.
    task = zoo.load(folder)
    assert task.source_tokenizer is task.tokenizer
    corpus = inputs.read(recipe.parse(translator).text)
    found = translation.score(task, corpus.valid[:5]).bleu
    assert found == pytest.approx(max(float(epoch["val_bleu"]) for epoch in history), abs=1e-4)
    assert translation.score(task, corpus.test).bleu == pytest.approx(
        float(row["test_bleu"]), abs=1e-4
    )


def test_the_last_checkpoints_are_averaged(translator, tmp_path):
    """As Vaswani et al. do, whatever their validation."""
    import numpy as np

    import zoo
    from training import checkpoints

    arguments = [*translator, "--epochs", "4", "--keep", "2", "--keep-last", "--average"]
    run.main([*arguments, "--optimizer.learning-rate", "0.1"])
    folder = tmp_path / "runs" / "t"
    files = sorted(path.name for path in (folder / "best").glob("*.h5"))
    assert files == ["epoch_00003.h5", "epoch_00004.h5"]
    arrays = [checkpoints.read(folder / "best" / name)[0] for name in files]
    network = zoo.load(folder).backbone.network
    for name, weight in checkpoints.values(network.weights).items():
        mean = (arrays[0][name].astype("float64") + arrays[1][name]) / 2
        np.testing.assert_allclose(weight, mean, atol=1e-6)


def test_rows_longer_than_a_model_reads_are_a_mistake(tiny, tmp_path):
    arguments = ["--data", str(tmp_path / "text.txt"), *tiny[2:], "--window", "9"]
    bound = ["--model.architecture", "transformer", "--model.max-sequence-length", "8"]
    path = tmp_path / "transformer.toml"
    path.write_text("epochs = 1")
    with pytest.raises(UserError, match="rows have up to 9 tokens and the model reads 8: "):
        run.main(["--recipe", str(path), *arguments, *bound])
    lines = ["--kind", "lines", "--max-length", "17", "--restart"]  # nothing filters those of valid
    bound[-1] = "17"
    with pytest.raises(UserError, match="rows have up to 20 tokens and the model reads 17: "):
        run.main(["--recipe", str(path), *arguments, *bound, *lines])


def test_two_runs_do_not_share_a_directory(tiny, tmp_path):
    from filelock import FileLock

    (tmp_path / "runs" / "d").mkdir(parents=True)
    with FileLock(tmp_path / "runs" / "d" / ".lock"), pytest.raises(UserError, match="at work in"):
        run.main([*tiny, "--name", "d"])


@pytest.mark.parametrize(
    ("backend", "said"), [("pytorch", "none of jax, torch, tensorflow"), ("", "none of jax")]
)
def test_a_wrong_backend_is_one_line(tiny, backend, said):
    process = start(tiny, KERAS_BACKEND=backend)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert said in errors
    assert errors.count("\n") == 1


def test_an_interrupt_ends_cleanly_and_says_how_to_go_on(tiny, tmp_path):
    process = start([*tiny, "--name", "e", "--epochs", "10000"])
    while not (tmp_path / "runs" / "e" / "checkpoint.h5").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
