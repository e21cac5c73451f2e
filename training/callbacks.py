"""What happens beside the steps of a training: progress, validation, the best weights, history."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops
from tqdm import tqdm

from training import checkpoints, results, translation
from training.recipe import UserError
from zoo.decoding import Options

log = logging.getLogger("training")


class Interrupt(keras.callbacks.Callback):
    """Ends a training between two steps when Ctrl-C is pressed, at once when it is pressed again.

    Python would raise the interrupt wherever it is, and lose it where that is a library's call
    that catches everything. Holds as a context.
    """

    def __enter__(self):
        self.pressed = False
        self.before = signal.signal(signal.SIGINT, self.press)
        return self

    def __exit__(self, *error):
        signal.signal(signal.SIGINT, self.before)

    def press(self, number, frame):
        self.pressed = True
        signal.signal(signal.SIGINT, self.before)

    def on_train_batch_end(self, batch, logs=None):
        if self.pressed:
            raise KeyboardInterrupt


class Progress(keras.callbacks.Callback):
    """A bar for the steps of each epoch, on standard error."""

    def on_epoch_begin(self, epoch, logs=None):
        self.bar = tqdm(
            total=self.params["steps"],
            desc=f"epoch {epoch + 1}/{self.params['epochs']}",
            unit="step",
            leave=False,
            disable=None,  # where nobody watches
        )

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self.bar.close()


class Seed(keras.callbacks.Callback):
    """Begins torch's own random numbers anew in each epoch: dropout takes them, and no variable of
    Keras's, which a checkpoint could bring back, holds their state.

    Args:
        seed: that they depend on, with the epoch.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and keras.backend.backend() == "torch":
            import torch  # data has begun to be read, which takes a number as well

            torch.manual_seed(int(np.random.default_rng((self.seed, self.epoch)).integers(2**32)))


class Validate(keras.callbacks.Callback):
    """Scores the model after each epoch and keeps the weights of some epochs.

    Args:
        network: whose weights are kept.
        score: gives the metrics of the validation part by name.
        folder: where weights are kept.
        keep: of how many epochs.
        use_ema: score and keep the optimizer's moving average of the weights.
        writes: whether this process is to keep them.
        rank: of an epoch, by its number and its metrics; those of the lowest rank are kept.

    Attributes:
        best: `[rank, file name]` of the kept epochs, the lowest first.
    """

    saved = ("best",)

    def __init__(
        self,
        network,
        score: Callable[[], dict[str, float]],
        folder: Path,
        keep: int = 1,
        use_ema: bool = False,
        writes: bool = True,
        rank: Callable[[int, dict[str, float]], float] = lambda epoch, scores: scores["nats"],
    ):
        super().__init__()
        self.network, self.score, self.folder, self.rank = network, score, folder, rank
        self.keep, self.use_ema, self.writes = keep, use_ema, writes
        self.best: list[list] = []

    def on_epoch_end(self, epoch, logs):
        with moving_average(self.model, self.use_ema):
            scores = self.score()
            if not math.isfinite(logs["loss"] + scores["nats"]):
                raise UserError(
                    "the loss is no longer a number: lower --optimizer.learning-rate, or clip the "
                    "gradients with --optimizer.global-clipnorm"
                )
            logs.update({f"val_{name}": value for name, value in scores.items()})
            entry = [self.rank(epoch, scores), f"epoch_{epoch + 1:05d}.h5"]
            self.best = sorted([*self.best, entry])[: self.keep]
            if entry in self.best and self.writes:
                arrays = checkpoints.values(self.network.weights)
                checkpoints.write(self.folder / entry[1], arrays)

    @property
    def files(self) -> list[Path]:
        """The kept weights, those of the lowest rank first."""
        return [self.folder / name for _, name in self.best]

    def drop_others(self) -> None:
        """Removes the files of weights that are no longer to be kept."""
        for path in set(self.folder.glob("*.h5")) - set(self.files):
            path.unlink()


@contextlib.contextmanager
def moving_average(model: keras.Model, use_ema: bool):
    """Puts the optimizer's moving average in place of the weights meanwhile, if `use_ema`."""
    if not use_ema:
        yield
        return
    swap = keras.callbacks.SwapEMAWeights()
    swap.set_model(model)
    swap.on_test_begin()
    try:
        yield
    finally:
        swap.on_test_end()


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's, with its notes named for a checkpoint."""

    saved = ("best", "best_epoch", "wait")


class ReduceLROnPlateau(keras.callbacks.ReduceLROnPlateau):
    """Keras's, with its notes named for a checkpoint."""

    saved = ("best", "wait", "cooldown_counter")


class History(keras.callbacks.Callback):
    """A row an epoch, in the log and in a CSV file.

    Args:
        path: of the file.
        tokens_per_step: for the speed.
        writes: whether this process is to write the file.

    Attributes:
        rows: a dict an epoch.
        seconds: spent so far, in earlier processes too.
    """

    saved = ("rows", "seconds")

    def __init__(self, path: Path, tokens_per_step: float, writes: bool = True):
        super().__init__()
        self.path, self.tokens_per_step, self.writes = path, tokens_per_step, writes
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        self.trained = None

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.perf_counter()  # validation is no part of the speed

    def on_epoch_end(self, epoch, logs):
        steps = self.params["steps"]
        speed = steps * self.tokens_per_step / (self.trained - self.started)
        self.seconds += time.perf_counter() - self.started
        self.rows.append(
            {
                "epoch": epoch + 1,
                "step": (epoch + 1) * steps,
                "seconds": round(self.seconds, 1),
                "learning_rate": float(ops.convert_to_numpy(self.model.optimizer.learning_rate)),
                **{name: round(float(value), 6) for name, value in logs.items()},
            }
        )
        if self.writes:
            results.write(self.path, self.rows)
        scores = {name.removeprefix("val_"): value for name, value in logs.items()}
        log.info(
            "epoch %d  step %d  loss %.4f  valid: %s  %.0f tokens/s",
            *(epoch + 1, (epoch + 1) * steps, logs["loss"], results.show(scores), speed),
        )


def chosen(options: Any) -> list[keras.callbacks.Callback]:
    """The callbacks that a recipe asks for by early stopping and by the schedule `plateau`."""
    callbacks: list[keras.callbacks.Callback] = []
    watched = {
        "monitor": f"val_{options.monitor}",
        "mode": "max" if options.monitor == "bleu" else "min",
    }
    if options.early_stopping is not None:
        callbacks.append(EarlyStopping(**watched, patience=options.early_stopping))
    if options.schedule.name == "plateau":
        factor, patience = options.schedule.factor, options.schedule.patience
        callbacks.append(ReduceLROnPlateau(**watched, factor=factor, patience=patience))
    return callbacks


def ranking(options: Any) -> Callable[[int, dict[str, float]], float]:
    """Which epochs a recipe asks to keep, for `Validate`: the best ones, or the last ones."""
    if options.keep_last:
        return lambda epoch, scores: -epoch
    if options.monitor == "bleu":
        return lambda epoch, scores: -scores["bleu"]
    return lambda epoch, scores: scores["nats"]


class Samples(keras.callbacks.Callback):
    """Logs what the model writes after each epoch, or its translations of validation sentences.

    Args:
        task: whose `generate` is used.
        prompts: beginnings of texts, or sources.
        length: largest number of tokens.
        seed: of the choice of tokens; a translation takes the most probable ones.
        use_ema: let the optimizer's moving average of the weights write.
    """

    def __init__(self, task, prompts: list[str], length: int, seed: int, use_ema: bool):
        super().__init__()
        self.task, self.prompts, self.length, self.use_ema = task, prompts, length, use_ema
        task.compile(sampler=keras_hub.samplers.RandomSampler(seed=seed))

    def on_epoch_end(self, epoch, logs=None):
        with moving_average(self.model, self.use_ema):
            for text in self.write():
                log.info("    %s", text.replace("\n", "\n    "))

    def write(self) -> list[str]:
        """The texts, one a prompt."""
        if not self.task.source_tokenizer:
            return self.task.generate(self.prompts, max_length=self.length)
        options = Options(max_tokens=self.length)
        return [r.text for r in translation.translate(self.task, self.prompts, options)]
