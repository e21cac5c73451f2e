"""The directory of a run: what is in it, and who may write there."""

import contextlib
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from training import distribution, environment, recipe, results
from training.recipe import UserError

log = logging.getLogger("training")


class RunDirectory:
    """Paths in the directory of a run; of several processes on jax the first one alone writes.

    Args:
        options: the recipe.
    """

    def __init__(self, options: Any):
        self.path = options.runs / (options.name or Path(options.recipe).stem)
        self.options = options
        self.recipe = self.path / "recipe.toml"
        self.versions = self.path / "versions.json"
        self.log = self.path / "log.txt"
        self.history = self.path / "history.csv"
        self.curves = self.path / "curves.png"
        self.checkpoint = self.path / "checkpoint.h5"
        self.best = self.path / "best"
        self.tensorboard = self.path / "tensorboard"
        self.preset = self.path / "preset"
        self.results = self.path / "results.csv"
        self.writes = distribution.is_first_process()

    @contextlib.contextmanager
    def claimed(self):
        """Makes the directory, or finds the same run there, and keeps other processes out of it.

        Raises:
            UserError: it holds a run with other settings, another process is at work there, or
                nothing can be written there.
        """
        if not self.writes:
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {self.path} ({error.strerror}): give --runs") from None
        try:
            with FileLock(self.path / ".lock", timeout=0):
                self._begin()
                yield
        except Timeout:
            raise UserError(f"another process is at work in {self.path}: give a --name") from None

    def _begin(self) -> None:
        resolved = recipe.dump(self.options)
        if self.recipe.exists() and self.options.restart:
            for item in self.path.glob("[!.]*"):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        if self.checkpoint.exists() or self.results.exists():  # else nothing is lost
            saved = self.recipe.read_text(encoding="utf-8")
            if other := recipe.differences(saved, resolved):
                raise UserError(
                    f"{self.path} holds a run with other settings ({'; '.join(other)}): "
                    "give this one a --name, or --restart to begin anew"
                )
        self.recipe.write_text(resolved, encoding="utf-8")
        versions = json.dumps(environment.versions(), indent=2)
        self.versions.write_text(versions + "\n", encoding="utf-8")

    def start_log(self) -> None:
        """Sends the log to standard output and to a file."""
        log.setLevel(logging.INFO)
        log.handlers.clear()
        if self.writes:
            shown, kept = logging.StreamHandler(sys.stdout), logging.FileHandler(self.log)
            kept.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
            log.handlers += [shown, kept]

    def has_finished(self) -> bool:
        """Whether there are results for as many epochs as the recipe says."""
        # The first process may not yet have taken away what --restart is to replace.
        if self.options.restart or not self.results.exists():
            return False
        return results.read(self.results)[0]["epochs"] == str(self.options.epochs)
