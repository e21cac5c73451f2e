"""Writes texts with a bundle, or translates, without any framework.

python -m export.infer bundles/lstm_names ma jo --temperature 1

It needs onnxruntime, numpy and tokenizers: the extra `infer`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from zoo.bundle import Bundle, BundleError
from zoo.command_line import (
    Decoding,
    UserError,
    Writing,
    complete,
    read_texts,
    show,
    table,
    translate,
)
from zoo.decoding import InvalidOption
from zoo.texts import DataError


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Writes texts with an exported language model, or translates them with a translation model."""

    bundle: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """Directory of the bundle."""
    writing: tyro.conf.OmitArgPrefixes[Writing] = field(default_factory=Writing)
    number: int = 1
    """How many texts of each beginning, of a language model."""
    decoding: tyro.conf.OmitArgPrefixes[Decoding] = field(default_factory=Decoding)
    """How a text is written."""


def main(arguments: Arguments) -> None:
    """Prints the texts, one a line."""
    texts, options = read_texts(arguments.writing), arguments.decoding
    bundle = Bundle(arguments.bundle)
    batch_size = arguments.writing.batch_size
    if bundle.tokenizer is None:
        raise UserError(f"{arguments.bundle} has no tokenizer: run it with token ids")
    if not bundle.source_tokenizer:
        show(complete(bundle, texts or [""], options, arguments.number, batch_size))
    elif options.n_best > 1:
        show(table(translate(bundle, texts, options, batch_size)))
    else:
        show(result.text for result in translate(bundle, texts, options, batch_size))


if __name__ == "__main__":
    try:
        main(tyro.cli(Arguments, config=(tyro.conf.HelptextFromCommentsOff,)))
    except (BundleError, DataError, InvalidOption, UserError) as error:
        sys.exit(f"error: {error}")
