"""All that the next step of a training depends on, in one file that is whole or not there."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import ops

from training.recipe import UserError

Arrays = dict[str, np.ndarray]


class Checkpoint(keras.callbacks.Callback):
    """Saves the training after each epoch, and brings it back.

    Saved are the variables of the model (weights, seed generators, a carried state), those of the
    optimizer (its moving averages too), and the notes of other callbacks. The order of the data
    needs none: it follows from the seed and the step.

    Stands last among the callbacks: it saves what they noted, and `on_train_begin`, where some of
    Keras's forget, it puts that back.

    Args:
        path: of the file, which each epoch replaces.
        callbacks: whose notes are saved: the attributes that their `saved` names.
        about: saved along, and compared when a run goes on, such as the hash of the data.
        writes: whether this process is to save.
        then: called when a checkpoint is saved; from then on no earlier one counts.
    """

    def __init__(
        self,
        path: Path,
        callbacks: Sequence,
        about: dict[str, str],
        writes: bool = True,
        then: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.path, self.callbacks, self.about = path, callbacks, about
        self.writes, self.then = writes, then
        self.notes: list[dict[str, Any]] = []

    def restore(self, model: keras.Model) -> tuple[int, bool]:
        """Gives a built and compiled model the saved variables.

        Returns:
            How many epochs are done, and whether a callback said to stop; 0 without a checkpoint.

        Raises:
            UserError: it was made with something else than `about` says.
        """
        if not self.path.exists():
            return 0, False
        arrays, info = read(self.path)
        for name, value in self.about.items():
            if info["about"][name] != value:
                raise UserError(
                    f"{self.path} was made with another {name}: --restart to begin anew"
                )
        assign(_variables(model), arrays)
        self.notes = info["notes"]
        self.on_train_begin()
        return info["epochs"], info["stopped"]

    def on_train_begin(self, logs=None):
        for callback, notes in zip(self.callbacks, self.notes):
            vars(callback).update(notes)

    def on_epoch_end(self, epoch, logs=None):
        if not self.writes:
            return
        info = {
            "epochs": epoch + 1,
            "stopped": self.model.stop_training,
            "about": self.about,
            "notes": [
                {name: getattr(callback, name) for name in callback.saved}
                for callback in self.callbacks
            ],
        }
        write(self.path, values(_variables(self.model)), info)
        self.then()


def _variables(model: keras.Model) -> list:
    return [*model.variables, *model.optimizer.variables]


# === Files ===


def write(path: Path, arrays: Arrays, info: dict[str, Any] | None = None) -> None:
    """Writes under a temporary name and renames, so that a reader finds the old file or the new.

    Args:
        path: of the file.
        arrays: by name.
        info: whatever JSON can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("w+b") as file:
        with h5py.File(file, "w") as h5:
            h5["info"] = json.dumps(info or {})
            for name, array in arrays.items():
                h5[f"arrays/{name}"] = array
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # or the renaming may be lost with the power
    os.close(folder)


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `write` wrote."""
    with h5py.File(path, "r") as h5:
        info = json.loads(h5["info"].asstr()[()])
        return {name: array[()] for name, array in h5["arrays"].items()}, info


# === Variables ===


def values(variables: Iterable) -> Arrays:
    """The values of Keras variables, by number: names count up within a process."""
    return {f"{i:04d}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}


def assign(variables: Iterable, arrays: Arrays) -> None:
    """Gives variables the values that `values` took from their like.

    Raises:
        ValueError: there are more or fewer of them, or they have other shapes.
    """
    for variable, name in zip(variables, sorted(arrays), strict=True):
        variable.assign(arrays[name])


def mean(paths: Sequence[Path]) -> Arrays:
    """The mean of the arrays of several files, each in its dtype."""
    files = [read(path)[0] for path in paths]
    return {
        name: np.mean([file[name] for file in files], axis=0, dtype="float64").astype(array.dtype)
        for name, array in files[0].items()
    }
