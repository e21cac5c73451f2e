"""A request while it is written: what it has so far, when a text ends, which one is the best."""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from zoo.contract import PAD_ID
from zoo.decoding.options import InvalidOption, Options
from zoo.decoding.request import FinishReason, Piece, Request, Result, Top
from zoo.decoding.text import Characters


class Step(NamedTuple):
    """What one token has added to a text, and the step before; texts share their beginnings."""

    before: "Step | None"
    token_id: int
    log_prob: float
    text: str
    top: Top = ()


class Row(NamedTuple):
    """A text so far, which is one row of the batch.

    Args:
        characters: how its text goes on; `None` where that is not known before the end.
        last: its last token; `None` where nothing is written.
        total: sum of the scores of all tokens.
        length: how many tokens there are.
        finish_reason: why it ends here.
    """

    characters: Characters | None = None
    last: Step | None = None
    total: float = 0.0
    length: int = 0
    finish_reason: FinishReason | None = None

    @property
    def last_id(self) -> int:
        """The last token; 0 where nothing is written."""
        return self.last.token_id if self.last else PAD_ID

    def steps(self) -> list[Step]:
        """All tokens, the first one first."""
        steps, step = [], self.last
        while step:
            steps.append(step)
            step = step.before
        return steps[::-1]


class Continuation(NamedTuple):
    """A token that a strategy has chosen.

    Args:
        row: what it continues.
        parent: number of that row in the batch.
        token_id, log_prob: the token.
        total: of the row that it makes.
        top: the most probable tokens in its place, where they are to be told.
    """

    row: Row
    parent: int
    token_id: int
    log_prob: float
    total: float
    top: Top = ()


class Search:
    """The rows of one request: one, or the beams of a beam search.

    Args:
        number: of the request.
        request: the `Request`.
        tokenizer: of the text.

    Attributes:
        rows: the texts that go on.
        parents: of each of them, the number in the batch of the row that it goes on from.
        generator: the request's own source of random numbers.
        prefix_ids, bad_words_ids: these options in tokens.

    Raises:
        InvalidOption: an option does not suit the tokenizer.
    """

    def __init__(self, number: int, request: Request, tokenizer):
        self.number = number
        self.request = request
        self.options = request.options
        self.end_id = tokenizer.eos_id
        self.prefix_ids = _prefix(self.options, tokenizer)
        self.bad_words_ids = _bad_words(self.options, tokenizer)
        _check_ids(self.options, tokenizer.vocabulary_size)
        self._characters = Characters(tokenizer, request.prompt_ids, self.options.stop)
        # Of the texts of a beam search few are kept: those are spelled out at the end, unless a
        # string may end them before.
        is_spelled = self.options.beam_size == 1 or self.options.stop
        self.rows = [Row(self._characters if is_spelled else None)]
        self.parents = [0]
        self.generator = np.random.default_rng(self.options.seed)
        self._ended: list[Row] = []
        limit = self.options.max_seconds
        self._deadline = None if limit is None else time.monotonic() + limit

    def advance(self, continuations: Iterable[Continuation]) -> list[Piece]:
        """Goes on with the best tokens.

        An end counts only among the `beam_size` best, and what goes on fills that number up.

        Args:
            continuations: the best first, twice as many as there are to be rows.

        Returns:
            What can be said of the text: each token at once where there is but one row; of a beam
            search everything at its end, since until then another text may become the best.
        """
        size = self.options.beam_size
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        self.rows, self.parents = [], []
        for rank, chosen in enumerate(continuations):
            if len(self.rows) == size:
                break
            row = self._append(chosen, is_late)
            if row.finish_reason is None:
                self.rows.append(row)
                self.parents.append(chosen.parent)
            elif rank < size:
                self._ended.append(row)
        if not self._can_improve():
            self.rows, self.parents = [], []
            return self._finish()
        return self._pieces(self.rows[0]) if size == 1 else []

    # === Stopping ===

    def _append(self, chosen, is_late):
        characters, text, stopped = chosen.row.characters, "", False
        if characters:
            if self.options.beam_size > 1:  # others may go on from the same row
                characters = characters.copy()
            text, stopped = characters.push(chosen.token_id)
        length = chosen.row.length + 1
        reason = "stop" if stopped else self._finish_reason(chosen.token_id, length, is_late)
        if reason and characters and not stopped:
            rest, stopped = characters.flush()
            text, reason = text + rest, "stop" if stopped else reason
        step = Step(chosen.row.last, chosen.token_id, chosen.log_prob, text, chosen.top)
        return Row(characters, step, chosen.total, length, reason)

    def _finish_reason(self, token_id, length, is_late):
        if token_id == self.end_id:
            return "end"
        if length == self.options.max_tokens:
            return "length"
        return "time" if is_late else None

    # === Ranking ===

    def _score(self, row):
        return row.total / length_penalty(self.options, row.length)

    def _can_improve(self):
        """Whether a row that goes on may yet come among the n best."""
        if not self.rows or len(self._ended) < self.options.n_best:
            return bool(self.rows)
        if self.options.early_stopping:
            return len(self._ended) < self.options.beam_size
        # A total only falls. Over the penalty it is best at the next length or at the greatest.
        best = max(row.total for row in self.rows)
        lengths = self.rows[0].length + 1, self.options.max_tokens
        possible = max(best / length_penalty(self.options, length) for length in lengths)
        return possible > sorted(map(self._score, self._ended))[-self.options.n_best]

    # === Results ===

    def _finish(self):
        ranked = sorted(self._ended, key=self._score, reverse=True)[: self.options.n_best]
        best, *others = map(self._spelled, ranked)
        alternatives = tuple(map(self._result, others))
        result = self._result(best, alternatives)
        *pieces, last = self._pieces(best)
        return [*pieces, replace(last, finish_reason=best.finish_reason, result=result)]

    def _spelled(self, row):
        """The row with the text of each token."""
        if row.characters:
            return row
        characters, last = self._characters.copy(), None
        for step in row.steps():
            text = characters.push(step.token_id)[0]
            if step is row.last:
                text += characters.flush()[0]
            last = step._replace(before=last, text=text)
        return row._replace(characters=characters, last=last)

    def _pieces(self, row):
        """What has not been given of a row: of the only one, its last token."""
        steps = [row.last] if self.options.beam_size == 1 else row.steps()
        return [
            Piece(self.number, step.text, step.token_id, step.log_prob, top=step.top)
            for step in steps
        ]

    def _result(self, row, alternatives=()):
        steps = row.steps()
        return Result(
            "".join(step.text for step in steps),
            tuple(step.token_id for step in steps),
            tuple(step.log_prob for step in steps),
            row.finish_reason,
            self._score(row),
            alternatives,
            top=tuple(step.top for step in steps) if self.request.top else (),
        )


def length_penalty(options: Options, length: int) -> float:
    """What the log-probability of a text of so many tokens is divided by."""
    base = (5 + length) / 6 if options.length_penalty_form == "wu" else length
    return base**options.length_penalty


# === Options that are texts, in tokens ===


def _prefix(options: Options, tokenizer):
    ids = tuple(tokenizer.encode(options.prefix))
    if tokenizer.unk_id in ids:
        raise InvalidOption("prefix", options.prefix, "text that the tokenizer has tokens for")
    if len(ids) > options.max_tokens:
        allowed = f"at most {options.max_tokens} tokens, as max_tokens says, and not {len(ids)}"
        raise InvalidOption("prefix", options.prefix, allowed)
    return ids


def _bad_words(options: Options, tokenizer):
    spellings = {tuple(tokenizer.encode(s + word)) for word in options.bad_words for s in ("", " ")}
    # What the tokenizer has no token for is not written anyway.
    return tuple(ids for ids in sorted(spellings) if ids and tokenizer.unk_id not in ids)


def _check_ids(options: Options, vocabulary_size):
    biased = tuple(token_id for token_id, _ in options.logit_bias)
    for name, ids in (("suppress_ids", options.suppress_ids), ("logit_bias", biased)):
        if max(ids, default=0) >= vocabulary_size:
            allowed = f"of token ids below {vocabulary_size}"
            raise InvalidOption(name, getattr(options, name), allowed)
