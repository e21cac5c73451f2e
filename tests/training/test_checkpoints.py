"""A checkpoint is whole or not there, and has in it all that the next step depends on."""

import keras
import numpy as np
import pytest
from keras import ops

from training import callbacks, checkpoints
from training.checkpoints import Checkpoint
from training.recipe import UserError

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X @ np.array([[1.0], [-2.0], [0.5]], "float32")


class Noting(keras.callbacks.Callback):
    """As Keras's own, it forgets when a training begins."""

    saved = ("seen",)

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen = [*self.seen, epoch]


def model(**options) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dropout(0.5)]
    made = keras.Sequential([*layers, keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    made.compile(optimizer=keras.optimizers.Adam(0.1, use_ema=True, **options), loss="mse")
    made.optimizer.build(made.trainable_variables)
    return made


def fit(trained, epochs, done, *others):
    trained.fit(
        X, Y, batch_size=4, epochs=epochs, initial_epoch=done, shuffle=False, verbose=0,
        callbacks=[callbacks.Seed(7), *others],
    )  # fmt: skip


def test_restored_goes_on_as_if_never_stopped(tmp_path):
    noting, whole = Noting(), model(gradient_accumulation_steps=3)
    fit(whole, 4, 0, noting, Checkpoint(tmp_path / "whole.h5", [noting], {"data": "a"}))

    first, one = Noting(), model(gradient_accumulation_steps=3)
    fit(one, 2, 0, first, Checkpoint(tmp_path / "part.h5", [first], {"data": "a"}))
    second, two = Noting(), model(gradient_accumulation_steps=3)
    fit(two, 1, 0)  # whatever it has been through before
    checkpoint = Checkpoint(tmp_path / "part.h5", [second], {"data": "a"})
    assert checkpoint.restore(two) == (2, False)
    assert second.seen == [0, 1]
    fit(two, 4, 2, second, checkpoint)

    arrays = [checkpoints.read(tmp_path / name)[0] for name in ("whole.h5", "part.h5")]
    assert arrays[0].keys() == arrays[1].keys()
    for name in arrays[0]:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    assert second.seen == noting.seen == [0, 1, 2, 3]


def test_every_variable_comes_back(tmp_path):
    trained, other = model(), model()
    fit(trained, 1, 0)
    assert any("seed" in variable.path for variable in trained.variables)
    checkpoints.write(tmp_path / "a.h5", checkpoints.values(trained.variables))
    checkpoints.assign(other.variables, checkpoints.read(tmp_path / "a.h5")[0])
    for one, two in zip(trained.variables, other.variables):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(two))
    with pytest.raises(ValueError):
        checkpoints.assign(other.variables[1:], checkpoints.read(tmp_path / "a.h5")[0])


def test_no_checkpoint_is_a_beginning(tmp_path):
    assert Checkpoint(tmp_path / "none.h5", [], {}).restore(model()) == (0, False)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    fit(model(), 1, 0, Checkpoint(tmp_path / "a.h5", [], {"data": "a"}))
    with pytest.raises(UserError, match="made with another data"):
        Checkpoint(tmp_path / "a.h5", [], {"data": "b"}).restore(model())


def test_a_broken_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    checkpoints.write(path, {"a": np.ones(3)}, {"epochs": 1})
    with pytest.raises(TypeError):
        checkpoints.write(path, {"a": np.zeros(3), "b": np.array([object()])}, {"epochs": 2})
    arrays, info = checkpoints.read(path)
    assert info == {"epochs": 1}
    assert arrays["a"].tolist() == [1, 1, 1]


def test_mean_of_files(tmp_path):
    for i, values in enumerate([[1.0, 2.0], [3.0, 6.0]]):
        arrays = {"a": np.array(values, "float32"), "b": np.array([i], "int32")}
        checkpoints.write(tmp_path / f"{i}.h5", arrays)
    mean = checkpoints.mean([tmp_path / "0.h5", tmp_path / "1.h5"])
    assert mean["a"].tolist() == [2, 4]
    assert mean["a"].dtype == "float32"
    assert mean["b"].dtype == "int32"
