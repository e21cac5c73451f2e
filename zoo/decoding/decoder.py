"""The loop: one token a row at every step, for any model, any options, any mixture of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zoo.contract import PAD_ID, Decodable, best, log_softmax
from zoo.decoding.filters import NoPadding
from zoo.decoding.options import InvalidOption, Options
from zoo.decoding.rows import FinishReason, Piece, Request, Row
from zoo.decoding.strategies import strategy_of


@dataclass(frozen=True)
class Result:
    """A text that is written.

    Args:
        text: without the prompt, and without the stop string that ended it.
        token_ids: every token that was written, `<eos>` and those of a stop string included.
        log_probs: the natural log-probability of each, as in `Piece`.
        finish_reason: why it ended.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    finish_reason: FinishReason | None

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> "Result":
        """What the pieces of one request add up to."""
        return cls(
            "".join(piece.text for piece in pieces),
            tuple(piece.token_id for piece in pieces),
            tuple(piece.log_prob for piece in pieces),
            pieces[-1].finish_reason,
        )


def generate(model: Decodable, tokenizer, requests: Sequence[Request]) -> list[Result]:
    """Writes the texts of all requests, together.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.
        requests: what to write.

    Returns:
        One result a request.

    Raises:
        InvalidOption: a text may get longer than the model can read.
    """
    pieces: list[list[Piece]] = [[] for _ in requests]
    for piece in stream(model, tokenizer, requests):
        pieces[piece.request].append(piece)
    return [Result.of(written) for written in pieces]


def stream(model: Decodable, tokenizer, requests: Sequence[Request]) -> Iterator[Piece]:
    """The same as `generate`, token by token: the pieces of each request in their order."""
    decoder = Decoder(model, tokenizer)
    decoder.add(requests)
    while decoder.rows:
        yield from decoder.step()


def next_tokens(
    model: Decodable, tokenizer, requests: Sequence[Request], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k most probable next tokens of each request, or all where there are fewer.

    Returns:
        `(ids, log_probs)`, `(requests, k)` each, the most probable first.
    """
    decoder = Decoder(model, tokenizer)
    decoder.add([replace(request, options=Options(max_tokens=1)) for request in requests])
    logits = decoder.read()
    return best(logits, k)


class Decoder:
    """Rows of one model that are written together; they come and go between two steps.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.

    Attributes:
        rows: those that are being written.
    """

    def __init__(self, model: Decodable, tokenizer):
        self.rows: list[Row] = []
        self._model = model
        self._tokenizer = tokenizer
        self._state: Any = None
        self._added = 0

    def add(self, requests: Sequence[Request]) -> None:
        """Reads sources and prompts, each prompt but for its last token: the next step reads it.

        Raises:
            InvalidOption: a text may get longer than the model can read.
        """
        if not requests:
            return
        for request in requests:
            self._check_length(len(request.prompt_ids), request.options.max_tokens)
        sources = [request.source_ids for request in requests]
        start = len(requests) if sources[0] is None else _padded(sources)
        state = self._model.start(start)
        prompts = _padded([request.prompt_ids[:-1] for request in requests])
        if prompts.size:
            _, state = self._model.step(prompts, state, want=0)
        self._state = self._model.join([self._state, state]) if self.rows else state
        numbered = enumerate(requests, self._added)
        new = [Row(number, request, self._tokenizer) for number, request in numbered]
        self._added += len(new)
        self._set_rows(self.rows + new)

    def _check_length(self, prompt, max_tokens):
        limit = self._model.max_length
        if limit and prompt > limit:
            raise InvalidOption("prompt", f"{prompt} tokens", f"at most {limit} tokens")
        # The last token that is written is not read.
        if limit and prompt + max_tokens - 1 > limit:
            allowed = f"at most {limit - prompt + 1} after a prompt of {prompt} tokens"
            raise InvalidOption("max_tokens", max_tokens, allowed)

    def read(self) -> np.ndarray:
        """Reads the last token of every row: logits of the next one, `(rows, vocabulary_size)`."""
        last_ids = np.array([[row.last_id] for row in self.rows], "int32")
        logits, self._state = self._model.step(last_ids, self._state)
        logits = logits[:, 0]
        for rule in self._filters:
            logits = rule(logits)
        return logits

    def step(self) -> list[Piece]:
        """Writes one token in every row; a row whose piece says why it ends is gone."""
        logits = self.read()
        token_ids = np.empty(len(self.rows), "int64")
        for strategy, members in self._strategies:
            token_ids[members] = strategy(logits[members])
        log_probs = log_softmax(logits)[np.arange(len(self.rows)), token_ids]
        pieces = [
            row.append(int(token_id), float(log_prob))
            for row, token_id, log_prob in zip(self.rows, token_ids, log_probs)
        ]
        running = [i for i, piece in enumerate(pieces) if piece.finish_reason is None]
        if len(running) < len(self.rows):
            self._state = self._model.trim(self._model.take(self._state, running))
            self._set_rows([self.rows[i] for i in running])
        return pieces

    def _set_rows(self, rows: list[Row]) -> None:
        self.rows = rows
        self._filters = [NoPadding(rows)]
        members: dict[type, list[int]] = {}
        for i, row in enumerate(rows):
            members.setdefault(strategy_of(row), []).append(i)
        self._strategies = [
            (strategy([rows[i] for i in group]), group) for strategy, group in members.items()
        ]


def _padded(rows):
    """Lists of ids -> `(batch, time)`, int32, padded at the right."""
    longest = max(map(len, rows))
    return np.array([[*row, *[PAD_ID] * (longest - len(row))] for row in rows], "int32")
