"""What a model says of texts that are there, read at once: prompts, scores, attention."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import numpy as np

from zoo.contract import PAD_ID, Decodable, State, best, log_probabilities
from zoo.decoding.options import InvalidOption
from zoo.decoding.request import Request, Result, Top
from zoo.decoding.search import length_penalty
from zoo.decoding.text import Characters

T = TypeVar("T")
Parts = Generator[int, None, T]
"""Work in parts: each `next` does one and says how many tokens it read; the result is returned."""


class Reader:
    """Rows of tokens, each after the source of its request, read together a part at a time.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        requests: whose sources are read at once, as this is made.
        rows: token ids, one list a request.

    Attributes:
        state: after what is read.
        left: how many tokens of the longest row are not.
    """

    def __init__(self, model: Decodable, requests: Sequence[Request], rows):
        self.state = _start(model, requests)
        self._model, self._ids = model, _padded(rows)

    @property
    def left(self) -> int:
        return self._ids.shape[1]

    def read(self, size: int, want: Any = "logits") -> Any:
        """Reads so many tokens of each row; returns what is wanted of them (`Decodable.step`)."""
        part, self._ids = self._ids[:, :size], self._ids[:, size:]
        wanted, self.state = self._model.step(part, self.state, want=want)
        return wanted


def prompt_reader(model: Decodable, requests: Sequence[Request]) -> Reader:
    """A reader of the prompts but for the last token of each, as `Decoder.add` needs them."""
    return Reader(model, requests, [request.prompt_ids[:-1] for request in requests])


def next_tokens(
    model: Decodable, requests: Sequence[Request], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k most probable next tokens of each request, or all where there are fewer.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        requests: their prompts are read; their options have no say.
        k: how many.

    Returns:
        `(ids, log_probs)`, `(requests, k)` each, the most probable first.

    Raises:
        InvalidOption: a prompt is longer than what the model can read.
    """
    for request in requests:
        check_length(model, request, 1)
    prompts = _padded([request.prompt_ids for request in requests])
    found, _ = model.step(prompts, _start(model, requests), want=k)
    return found


def next_in_parts(
    model: Decodable, request: Request, k: int, size: int, everywhere: bool = False
) -> Parts[list[Top]]:
    """The k most probable tokens after a prompt, or after each token of it.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        request: its prompt is read; its options have no say.
        k: how many.
        size: of the parts, in tokens.
        everywhere: after each token, the first one of which is `<eos>`.

    Raises:
        InvalidOption: the prompt is longer than what the model can read.
    """
    check_length(model, request, 1)
    reader = Reader(model, [request], [request.prompt_ids])
    found: list[Top] = []
    while reader.left:
        if everywhere:
            found += tops(*best(reader.read(size)[0], k))
        elif reader.left <= size:
            found += tops(*reader.read(size, want=k))
        else:
            reader.read(size, want=0)
        yield size
    return found


def tops(ids: np.ndarray, log_probs: np.ndarray) -> list[Top]:
    """Arrays `(rows, k)` each -> the pairs of each row."""
    return [tuple(zip(*pair)) for pair in zip(ids.tolist(), log_probs.tolist())]


def embed_in_parts(model: Decodable, request: Request, size: int) -> Parts[np.ndarray]:
    """What the model holds of a source, or of a prompt where there is none, as one vector.

    That is every number that the encoder leaves for the decoder to look at, or else every number
    of the state, with the mean over the tokens where there is one for each.

    Raises:
        InvalidOption: the prompt is longer than what the model can read, or the model holds none.
    """
    check_length(model, request, 1)
    reader = Reader(model, [request], [request.prompt_ids if request.source_ids is None else []])
    while reader.left:
        reader.read(size, want=0)
        yield size
    leaves = [leaf for leaf in model.state_spec if leaf.dtype.startswith("float")]
    leaves = [leaf for leaf in leaves if leaf.kind == "constant"] or leaves
    if not leaves:
        allowed = "one that holds numbers of a text and not its tokens alone"
        raise InvalidOption("model", "this one", allowed)
    return np.concatenate([_mean(leaf, reader.state) for leaf in leaves])


def _mean(leaf, state):
    """A leaf of the one row there is, its mean over the slots that are not empty; flat."""
    array = np.asarray(state[leaf.name])[0]
    if leaf.slots:
        filled = np.flatnonzero(np.asarray(state[leaf.slots])[0] >= 0)
        array = np.take(array, filled, leaf.slot_axis - 1).mean(axis=leaf.slot_axis - 1)
    return array.ravel()


def score(
    model: Decodable, tokenizer, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]
) -> list[Result]:
    """How probable texts are, read at once: `score_in_parts` of one part.

    This takes memory for the logits of each token of all of them.
    """
    if not requests:
        return []
    parts = score_in_parts(model, tokenizer, requests, texts)
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def score_in_parts(
    model: Decodable,
    tokenizer,
    requests: Sequence[Request],
    texts: Sequence[str | Sequence[int]],
    size: int | None = None,
) -> Parts[list[Result]]:
    """How probable texts are: each what follows the prompt of a request, and translates its source.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.
        requests: one a text; of the options, those of the length penalty have a say.
        texts: strings, which end with the end token; or token ids, which end as they do.
        size: of the parts, in tokens of each text; `None`: one part.

    Returns:
        One result a text, as if the decoder had written it.

    Raises:
        InvalidOption: a text is longer than what the model can read.
        ValueError: a text has no token.
    """
    written = [_token_ids(tokenizer, text) for text in texts]
    for request, token_ids in zip(requests, written):
        check_length(model, request, len(token_ids))
    rows = [[*r.prompt_ids, *token_ids][:-1] for r, token_ids in zip(requests, written)]
    reader, at = Reader(model, requests, rows), 0
    found: list[list[float]] = [[] for _ in requests]
    while reader.left:
        logits = reader.read(size or reader.left)
        stop = at + logits.shape[1]
        for request, token_ids, own, log_probs in zip(requests, written, logits, found):
            first = len(request.prompt_ids) - 1
            start, end = max(first, at), min(first + len(token_ids), stop)
            ids = token_ids[start - first : max(end, start) - first]
            all_of_them = log_probabilities(own[start - at : start - at + len(ids)])
            log_probs += all_of_them[np.arange(len(ids)), list(ids)].tolist()
        yield (stop - at) * len(requests)
        at = stop
    results = []
    for request, token_ids, log_probs in zip(requests, written, found):
        result = Result(
            _text(tokenizer, request.prompt_ids, token_ids),
            token_ids,
            tuple(log_probs),
            "end" if token_ids[-1] == tokenizer.eos_id else None,
            sum(log_probs) / length_penalty(request.options, len(token_ids)),
            attention=attention(model, request, token_ids) if request.attention else None,
        )
        results.append(result)
    return results


def _token_ids(tokenizer, text):
    ids = (*tokenizer.encode(text), tokenizer.eos_id) if isinstance(text, str) else tuple(text)
    if not ids:
        raise ValueError("a text has one token at least: the end token")
    return ids


def _text(tokenizer, prompt_ids, token_ids):
    characters = Characters(tokenizer, prompt_ids, ())
    return "".join(characters.push(i)[0] for i in token_ids) + characters.flush()[0]


def attention(
    model: Decodable, request: Request, token_ids: Sequence[int]
) -> dict[str, np.ndarray] | None:
    """What the model looks at as it writes these tokens, as in `Result`; `None`: it cannot tell."""
    read = [*request.prompt_ids, *token_ids][:-1]
    weights = model.attention(_padded([read]), _start(model, [request]))
    slots = {True: len(request.source_ids or ()), False: len(read)}
    return {
        name: array[0, :, len(request.prompt_ids) - 1 : len(read), : slots[name.endswith("cross")]]
        for name, array in weights.items()
    } or None


def read_prompts(model: Decodable, requests: Sequence[Request]) -> State:
    """The state after the sources, and after the prompts but for the last token of each."""
    reader = prompt_reader(model, requests)
    if reader.left:
        reader.read(reader.left, want=0)
    return reader.state


def room(model: Decodable, prompt: int) -> int | None:
    """How many tokens can be written after so many of a prompt; `None`: there is no bound."""
    # The last token that is written is not read.
    return None if model.max_length is None else model.max_length - prompt + 1


def check_length(model: Decodable, request: Request, max_tokens: int) -> None:
    """Raises `InvalidOption` where a text of so many tokens is longer than what the model reads."""
    prompt = len(request.prompt_ids)
    most = room(model, prompt)
    if most is not None and most < 1:
        raise InvalidOption("prompt", f"{prompt} tokens", f"at most {model.max_length} tokens")
    if most is not None and max_tokens > most:
        allowed = f"at most {most} after a prompt of {prompt} tokens"
        raise InvalidOption("max_tokens", max_tokens, allowed)


def check_rows(model: Decodable, rows: int) -> None:
    """Raises `ValueError` where the model can only take one text at a time, and there are more."""
    if rows > 1 and not model.ragged:
        raise ValueError("rows of different lengths are not for this model: give it one text")


def _start(model, requests):
    check_rows(model, len(requests))
    sources = [request.source_ids for request in requests]
    return model.start(len(requests) if sources[0] is None else _padded(sources))


def _padded(rows):
    """Lists of ids -> `(batch, time)`, int32, padded at the right."""
    longest = max(map(len, rows))
    return np.array([[*row, *[PAD_ID] * (longest - len(row))] for row in rows], "int32")
