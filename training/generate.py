"""Writes texts with a language model: python training/generate.py --preset NAME "Once upon a"."""

from dataclasses import dataclass, field

import tyro

import zoo
from training import command_line
from training.recipe import UserError
from zoo.command_line import complete


@dataclass(frozen=True, kw_only=True)
class Arguments(command_line.Writing):
    """Writes texts with a language model; those given, or nothing, are what they begin with.

    python training/generate.py --preset lstm_names ma jo --number 3 --seed 0
    """

    number: int = 1
    """How many texts of each beginning."""
    decoding: tyro.conf.OmitArgPrefixes[command_line.Decoding] = field(
        default_factory=lambda: command_line.Decoding(temperature=1.0)
    )


def main(arguments: Arguments) -> None:
    """Prints the texts."""
    beginnings = command_line.read_texts(arguments)
    if not beginnings and arguments.file is None:
        beginnings = [""]
    model = zoo.load(arguments.preset)
    if model.source_tokenizer:
        raise UserError(f"{arguments.preset} translates: use training/translate.py")
    command_line.show(
        complete(model, beginnings, arguments.decoding, arguments.number, arguments.batch_size)
    )


if __name__ == "__main__":
    command_line.run(main, Arguments)
