"""What the programs that write texts with a preset share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tyro

from training import environment
from zoo import command_line
from zoo.command_line import Decoding, read_texts, show, write

__all__ = ["Decoding", "Writing", "read_texts", "run", "show", "write"]


@dataclass(frozen=True, kw_only=True)
class Writing(command_line.Writing):
    """What each of them is told besides its texts."""

    preset: str
    """Name of a pretrained model, a run directory, or a preset directory."""


def run(main: Callable[[Any], None], arguments: type) -> None:
    """Runs a program: reads its command line as a dataclass, and shows a mistake as one line."""
    with environment.one_line_errors():
        asked = tyro.cli(arguments, config=(tyro.conf.HelptextFromCommentsOff,))
        environment.prepare()
        environment.configure()
        main(asked)
