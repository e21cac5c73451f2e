"""Writes texts with a language model: python training/generate.py --preset NAME "Once upon a"."""

from dataclasses import dataclass, field, replace

import tyro

import zoo
from training import command_line
from training.recipe import UserError
from zoo.decoding import Options, Request


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
    prompts = [text for text in beginnings for _ in range(arguments.number)]
    requests = [
        Request.of(model.tokenizer, prompt, options=_numbered(arguments.decoding, i))
        for i, prompt in enumerate(prompts)
    ]
    results = command_line.write(model, requests, arguments.batch_size)
    command_line.show(
        prompt + one.text for prompt, result in zip(prompts, results) for one in result.ranked
    )


def _numbered(options: Options, i: int) -> Options:
    """A seed of its own for each text: those that follow the one given."""
    return options if options.seed is None else replace(options, seed=options.seed + i)


if __name__ == "__main__":
    command_line.run(main, Arguments)
