"""Translates: python training/translate.py --preset NAME "I love you."."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

import zoo
from training import attention, command_line, translation
from training.recipe import UserError
from zoo.command_line import table


@dataclass(frozen=True, kw_only=True)
class Arguments(command_line.Writing):
    """Translates the texts given, or those of a file, or else the lines of standard input.

    python training/translate.py --preset runs/sutskever_grammar_en_fr "I love you."
    """

    attention: Path | None = None
    """A PNG to draw in it what each word of one translation looked at."""
    decoding: tyro.conf.OmitArgPrefixes[command_line.Decoding] = field(
        default_factory=lambda: command_line.Decoding(max_tokens=translation.MAX_TOKENS)
    )


def main(arguments: Arguments) -> None:
    """Prints a translation a line and nothing else, or with --n-best what `table` says."""
    if not arguments.texts and arguments.file is None:
        arguments = replace(arguments, file=Path("-"))
    sources = command_line.read_texts(arguments)
    model = zoo.load(arguments.preset)
    if not model.source_tokenizer:
        raise UserError(f"{arguments.preset} does not translate: use training/generate.py")
    if arguments.attention and len([source for source in sources if source.strip()]) != 1:
        raise UserError("--attention draws one translation: give it one text")
    results = translation.translate(
        model, sources, arguments.decoding, arguments.batch_size, bool(arguments.attention)
    )
    if arguments.attention:
        source, result = next(pair for pair in zip(sources, results) if pair[0].strip())
        attention.draw(*attention.between_words(model, source, result), arguments.attention)
    if arguments.decoding.n_best > 1:
        command_line.show(table(results))
    else:
        command_line.show(result.text for result in results)


if __name__ == "__main__":
    command_line.run(main, Arguments)
