"""Puts the model of a run into the zoo: python training/publish.py RUN NAME

The preset goes to `zoo/presets/NAME` with its weights at half precision; a line in the table of
zoo/presets.py makes it known. `python training/evaluate.py NAME` then scores what was published.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from training import environment


@dataclass(frozen=True)
class Arguments:
    """Puts the model of a run into the zoo."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a finished run."""
    name: Annotated[str, tyro.conf.Positional]
    """Name of the preset."""


def main(arguments: Arguments) -> None:
    """Copies the preset, its recipe and its scores."""
    environment.prepare()
    environment.configure()
    import zoo
    from zoo import presets

    to = presets.DIRECTORY / arguments.name
    source = arguments.run / "preset"
    presets.save(zoo.load(source), to, float16=True)
    shutil.copy(source / "recipe.toml", to)
    shutil.copy(arguments.run / "results.csv", to)
    print(f"{to}: {sum(f.stat().st_size for f in to.rglob('*') if f.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    with environment.one_line_errors():
        main(tyro.cli(Arguments))
