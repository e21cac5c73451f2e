"""The weights that are kept, their moving average, and the history of a training."""

import csv
import logging

import keras
import numpy as np
import pytest
from keras import ops

from training import callbacks, checkpoints
from training.recipe import UserError

X = np.ones((4, 1), "float32")


def model(**options) -> keras.Model:
    """y = w x with w = 0, to be 1."""
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    made.layers[0].kernel.assign([[0.0]])
    made.compile(optimizer=keras.optimizers.SGD(0.25, **options), loss="mse")
    return made


def scores(nats):
    return {
        "nats": nats,
        "perplexity": np.exp(nats),
        "bits_per_character": nats,
        "top_1": 0.5,
        "top_5": 1,
    }


def weight(path) -> float:
    return float(checkpoints.read(path)[0]["0000"][0, 0])


def test_the_best_weights_are_kept(tmp_path):
    """Each step halves the distance to 1: after the epochs w is 1/2, 3/4, 7/8, 15/16."""
    made, given = model(), iter([3.0, 1.0, 4.0, 2.0])
    validate = callbacks.Validate(made, lambda: scores(next(given)), tmp_path / "best", keep=2)
    made.fit(X, X, epochs=4, callbacks=[validate], verbose=0)
    assert [name for _, name in validate.best] == ["epoch_00002.h5", "epoch_00004.h5"]
    assert [weight(path) for path in validate.files] == [0.75, 0.9375]
    assert len(list((tmp_path / "best").iterdir())) == 3  # the first too, until a checkpoint
    validate.drop_others()
    assert sorted((tmp_path / "best").iterdir()) == sorted(validate.files)


def test_a_recipe_says_which_epochs_are_kept():
    from training.recipe import Options

    worse, better = {"nats": 1.0, "bleu": 20.0}, {"nats": 2.0, "bleu": 30.0}
    for options, expected in (
        (Options(), [1.0, 2.0]),
        (Options(monitor="bleu"), [-20.0, -30.0]),
        (Options(monitor="bleu", keep_last=True), [0, -1]),
    ):
        rank = callbacks.ranking(options)
        assert [rank(epoch, scores) for epoch, scores in enumerate((worse, better))] == expected


def test_early_stopping_on_bleu(tmp_path):
    """Three epochs: the second has the best BLEU, whatever its likelihood, the third no better."""
    from training.recipe import Options

    given = iter([(1.0, 10.0), (2.0, 20.0), (0.5, 15.0), (0.1, 5.0)])
    options, made = Options(monitor="bleu", early_stopping=1), model()

    def score():
        nats, bleu = next(given)
        return {**scores(nats), "bleu": bleu}

    validate = callbacks.Validate(made, score, tmp_path, rank=callbacks.ranking(options))
    made.fit(X, X, epochs=9, callbacks=[validate, *callbacks.chosen(options)], verbose=0)
    assert [name for _, name in validate.best] == ["epoch_00002.h5"]
    assert next(given) == (0.1, 5.0)


def test_the_moving_average_is_what_is_scored_and_kept(tmp_path):
    """With momentum 1/2 the average is 1/2 after the first step, then (1/2 + 3/4) / 2."""
    made, seen = model(use_ema=True, ema_momentum=0.5), []

    def score():
        seen.append(float(ops.convert_to_numpy(made.layers[0].kernel)[0, 0]))
        return scores(1 / seen[-1])

    validate = callbacks.Validate(made, score, tmp_path, use_ema=True)
    after = []

    class After(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            after.append(float(ops.convert_to_numpy(made.layers[0].kernel)[0, 0]))

    made.fit(X, X, epochs=2, callbacks=[validate, After()], verbose=0)
    assert seen == [0.5, 0.625]
    assert after == [0.5, 0.75]  # and training goes on from the weights themselves
    assert weight(validate.files[0]) == 0.625


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    made = model()
    validate = callbacks.Validate(made, lambda: scores(1.0), tmp_path)
    with pytest.raises(UserError, match="no longer a number"):
        made.fit(X * np.nan, X, callbacks=[validate], verbose=0)
    assert not list(tmp_path.iterdir())


def test_history_has_a_row_an_epoch(tmp_path, caplog):
    made, given = model(), iter([3.0, 1.0])
    validate = callbacks.Validate(made, lambda: scores(next(given)), tmp_path / "best")
    history = callbacks.History(tmp_path / "history.csv", tokens_per_step=7)
    with caplog.at_level(logging.INFO, "training"):
        made.fit(X, X, epochs=2, batch_size=2, callbacks=[validate, history], verbose=0)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert [float(row["val_nats"]) for row in rows] == [3, 1]
    assert float(rows[0]["learning_rate"]) == 0.25
    assert "epoch 2  step 4" in caplog.text


def test_plateau_and_early_stopping_watch_the_validation(tmp_path):
    from training.recipe import Optimizer, Options, Schedule

    options = Options(early_stopping=2, schedule=Schedule(name="plateau", factor=0.5, patience=1))
    assert isinstance(options.optimizer, Optimizer)
    made, given = model(), iter([2.0, 1.0, 1.5, 1.5, 0.0])
    validate = callbacks.Validate(made, lambda: scores(next(given)), tmp_path)
    noting = callbacks.chosen(options)
    made.fit(X, X, epochs=5, callbacks=[validate, *noting], verbose=0)
    assert next(given) == 0.0  # four epochs: two after the best
    assert float(ops.convert_to_numpy(made.optimizer.learning_rate)) == 0.25 / 4
    for callback in noting:
        assert {name: getattr(callback, name) for name in callback.saved}["best"] == 1.0
