"""What the programs that write texts share: how they are asked, where texts come from and go to."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from training import environment
from training.data.corpora import decode_text, lines
from training.data.download import read_file
from training.recipe import UserError
from zoo import decoding


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What every program that writes texts is told; a model, texts, and how to decode."""

    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, each in quotation marks."""
    preset: str
    """Name of a pretrained model, a run directory, or a preset directory."""
    file: Path | None = None
    """File of texts, one a line; - is standard input."""
    batch_size: int = 32
    """How many texts are written together."""


@dataclass(frozen=True, kw_only=True)
class Decoding(decoding.Options):
    """How a text is written."""

    beam_size: Annotated[int, tyro.conf.arg(aliases=["--beam"])] = 1


def run(main: Callable[[Any], None], arguments: type) -> None:
    """Runs a program: reads its command line as a dataclass, and shows a mistake as one line."""
    with environment.one_line_errors():
        asked = tyro.cli(arguments, config=(tyro.conf.HelptextFromCommentsOff,))
        environment.prepare()
        environment.configure()
        main(asked)


def read_texts(arguments: Writing) -> list[str]:
    """The texts of the command line, or else the lines of the file or of standard input.

    Raises:
        DataError: the file cannot be read.
        UserError: texts and a file are given.
    """
    if arguments.file is None:
        return list(arguments.texts)
    if arguments.texts:
        raise UserError("give texts or a --file, not both")
    if str(arguments.file) == "-":
        return lines(decode_text(sys.stdin.buffer.read(), "standard input"))
    return lines(decode_text(read_file(arguments.file), arguments.file))


def write(
    model, requests: Sequence[decoding.Request], batch_size: int = 32
) -> list[decoding.Result]:
    """Decodes in batches of about one length, with a bar on standard error where one can see it.

    Args:
        model: a task of `zoo.tasks`, or a `zoo.bundle.Bundle`.
        requests: any number.
        batch_size: how many are decoded together.

    Returns:
        A result a request, in their order.

    Raises:
        UserError: a batch is to be empty.
        decoding.InvalidOption: a text may get longer than the model can read.
    """
    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {batch_size}")
    order = sorted(
        range(len(requests)),
        key=lambda i: (len(requests[i].source_ids or ()), len(requests[i].prompt_ids)),
    )
    results: dict[int, decoding.Result] = {}
    with tqdm(total=len(order), unit="text", leave=False, disable=None) as bar:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            written = decoding.generate(model, model.tokenizer, [requests[i] for i in batch])
            results.update(zip(batch, written))
            bar.update(len(batch))
    return [results[i] for i in range(len(requests))]


def show(texts: Iterable[str]) -> None:
    """Prints a line a text, and stops quietly where nobody reads on."""
    try:
        for text in texts:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:  # as `| head` leaves it; Python would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
