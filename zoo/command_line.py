"""What the programs that write texts share: how they are asked, where texts come from and go to."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from zoo import decoding
from zoo.texts import decode_text, lines, read_file

MAX_TOKENS = 512
"""More than any translation should have; what ends one that does not end is its source's length."""


class UserError(ValueError):
    """What the user can mend; shown as one line."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What every program that writes texts is told; a model, texts, and how to decode."""

    texts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Texts, each in quotation marks."""
    file: Path | None = None
    """File of texts, one a line; - is standard input."""
    batch_size: int = 32
    """How many texts are written together."""


@dataclass(frozen=True, kw_only=True)
class Decoding(decoding.Options):
    """How a text is written."""

    beam_size: Annotated[int, tyro.conf.arg(aliases=["--beam"])] = 1


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


def translate(
    model,
    sources: Sequence[str],
    options: decoding.Options | None = None,
    batch_size: int = 64,
    attention: bool = False,
) -> list[decoding.Result]:
    """Translates sentences, greedily where no options say otherwise.

    A translation has at most 16 tokens and twice those of its source, and no more than the model
    can read. A blank line has no tokens.

    Args:
        model: a `zoo.tasks.Seq2SeqLM`, or a `zoo.bundle.Bundle` that translates.
        sources: as people write them.
        options: of the decoder.
        batch_size: sentences decoded together.
        attention: ask for the attention weights too.

    Returns:
        A result a sentence, in their order.
    """
    options = options or decoding.Options(max_tokens=MAX_TOKENS)
    options = within(options, model, 1)
    empty = decoding.Result("", (), (), "end")
    requests = {}
    for i, source in enumerate(sources):
        if source.strip():
            request = decoding.Request.of(
                model.tokenizer, "", source, options, model.source_tokenizer, attention
            )
            most = max(options.min_tokens, 16 + 2 * len(request.source_ids or ()))
            most = min(most, options.max_tokens)
            requests[i] = replace(request, options=replace(options, max_tokens=most))
    written = write(model, list(requests.values()), batch_size)
    results = dict(zip(requests, written))
    return [results.get(i, empty) for i in range(len(sources))]


def complete(
    model,
    beginnings: Sequence[str],
    options: decoding.Options,
    number: int = 1,
    batch_size: int = 32,
) -> list[str]:
    """Whole texts with these beginnings, so many of each; the seed of each is one more.

    They have no more tokens than the model can read.

    Args:
        model: a `zoo.tasks.CausalLM`, or a `zoo.bundle.Bundle` that does not translate.
        beginnings: of the texts.
        options: of the decoder.
        number: texts of each beginning.
        batch_size: texts written together.
    """
    prompts = [text for text in beginnings for _ in range(number)]
    seeds = [None if options.seed is None else options.seed + i for i in range(len(prompts))]
    requests = []
    for prompt, seed in zip(prompts, seeds):
        request = decoding.Request.of(model.tokenizer, prompt, options=replace(options, seed=seed))
        allowed = within(request.options, model, len(request.prompt_ids))
        requests.append(replace(request, options=allowed))
    results = write(model, requests, batch_size)
    return [p + one.text for p, result in zip(prompts, results) for one in result.ranked]


def within(options: decoding.Options, model, prompt: int) -> decoding.Options:
    """The options, with as many tokens at most as there is room for after a prompt."""
    most = decoding.room(model, prompt)
    if most is None or options.max_tokens <= most:
        return options
    return replace(options, max_tokens=max(1, most))


def table(results: Iterable[decoding.Result]) -> Iterator[str]:
    """A line each of the best translations: the number of the text, the score and the translation,
    a tab between them."""
    for number, result in enumerate(results, 1):
        for best in result.ranked:
            yield f"{number}\t{best.score:.4f}\t{best.text}"


def show(texts: Iterable[str]) -> None:
    """Prints a line a text, and stops quietly where nobody reads on."""
    try:
        for text in texts:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:  # as `| head` leaves it; Python would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
