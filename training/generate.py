"""Writes texts with a language model: python training/generate.py PRESET [options]"""

from dataclasses import dataclass
from typing import Annotated

import tyro

import zoo
from training import environment
from zoo import decoding


@dataclass(frozen=True)
class Arguments:
    """Writes texts with a language model, one line each where the texts have one line."""

    preset: Annotated[str, tyro.conf.Positional]
    """Name of a pretrained model, or a preset directory."""
    prompt: str = ""
    """What the texts begin with."""
    number: int = 1
    """How many texts."""
    max_tokens: int = 100
    """The most tokens of a text."""
    temperature: float = 1.0
    """0 takes the most probable token each time."""
    top_k: int | None = None
    """Draw from so many of the most probable tokens only."""
    top_p: float | None = None
    """Draw from the most probable tokens that have this probability together."""
    seed: int | None = None
    """Of the first text; each next one has the next number."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=Arguments.__doc__)
    environment.prepare()
    environment.configure()
    options = [
        decoding.Options(
            max_tokens=arguments.max_tokens,
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            seed=None if arguments.seed is None else arguments.seed + i,
        )
        for i in range(arguments.number)
    ]
    model = zoo.load(arguments.preset)
    tokenizer = model.preprocessor.tokenizer.tokenizer
    requests = [decoding.Request.of(tokenizer, arguments.prompt, options=o) for o in options]
    for result in decoding.generate(model, tokenizer, requests):
        print(arguments.prompt + result.text)


if __name__ == "__main__":
    with environment.one_line_errors():
        main()
