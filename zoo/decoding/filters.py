"""Which tokens are possible, and how much more or less: rules on the logits of all rows at once."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from zoo.contract import PAD_ID
from zoo.decoding.history import History
from zoo.decoding.options import Options
from zoo.decoding.search import Search


class Filter(Protocol):
    """A rule, made anew whenever the rows of a batch are others, and called at every step.

    A row that does not ask for a rule goes through it unchanged, so that no row depends on those
    beside it.

    Args:
        searches: that each row belongs to, one a row.
    """

    def __init__(self, searches: Sequence[Search]): ...

    @staticmethod
    def is_asked(options: Options) -> bool:
        """Whether the rule changes anything."""
        ...

    def __call__(self, logits: np.ndarray, own: np.ndarray, history: History) -> np.ndarray:
        """New logits, -inf where a token is ruled out.

        Args:
            logits: `(rows, vocabulary_size)`, as the rules before this one leave them.
            own: the model's own, likewise.
            history: of the same rows.
        """
        ...


class RepetitionPenalty:
    """x / penalty, or x * penalty where x < 0, of each token x that stands in prompt or text.

    The mark before all texts is no token of theirs: else none would end.
    """

    def __init__(self, searches):
        self.penalty = _column(searches, "repetition_penalty")
        self.end_id = searches[0].end_id

    @staticmethod
    def is_asked(options):
        return options.repetition_penalty != 1

    def __call__(self, logits, own, history):
        row, time = np.nonzero((history.ids != PAD_ID) & (history.ids != self.end_id))
        ids = history.ids[row, time]
        x, penalty = logits[row, ids], self.penalty[row, 0]
        logits = logits.copy()
        logits[row, ids] = np.where(x < 0, x * penalty, x / penalty)
        return logits


class FrequencyPenalty:
    """x - frequency_penalty n - presence_penalty, where the token stands n times in the text."""

    def __init__(self, searches):
        self.frequency = _column(searches, "frequency_penalty")
        self.presence = _column(searches, "presence_penalty")

    @staticmethod
    def is_asked(options):
        return options.frequency_penalty != 0 or options.presence_penalty != 0

    def __call__(self, logits, own, history):
        time = history.ids.shape[1]
        row, column = np.nonzero(np.arange(time) >= time - history.written[:, None])
        ids = history.ids[row, column]
        before, logits = logits, logits.copy()
        logits[row, ids] = before[row, ids] - self.presence[row, 0]  # once, however often it stands
        np.subtract.at(logits, (row, ids), self.frequency[row, 0])
        return logits


class NoRepeatedNgrams:
    """Not the token that would make the last n the same as n others before."""

    def __init__(self, searches):
        self.end_id = searches[0].end_id
        self.rows = {}
        for i, search in enumerate(searches):
            if n := search.options.no_repeat_ngram:
                self.rows.setdefault(n, []).append(i)

    @staticmethod
    def is_asked(options):
        return options.no_repeat_ngram is not None

    def __call__(self, logits, own, history):
        logits = logits.copy()
        ends = logits[:, self.end_id].copy()
        for n, rows in self.rows.items():
            ids = history.ids[rows]
            if ids.shape[1] < n:
                continue
            ngrams = np.lib.stride_tricks.sliding_window_view(ids, n, axis=1)
            beginning = ids[:, None, ids.shape[1] - n + 1 :]
            is_again = (ngrams[:, :, :-1] == beginning).all(axis=2) & (ngrams[:, :, 0] != PAD_ID)
            row, at = np.nonzero(is_again)
            logits[np.array(rows)[row], ngrams[row, at, -1]] = -np.inf
        logits[:, self.end_id] = ends  # the mark before all texts is no token of theirs
        return logits


class BadWords:
    """Not the last token of a sequence whose others have just been written."""

    def __init__(self, searches):
        words = [(i, ids) for i, search in enumerate(searches) for ids in search.bad_words_ids]
        longest = max(len(ids) for _, ids in words) if words else 1
        self.rows = np.array([i for i, _ in words], "int64")
        self.last = np.array([ids[-1] for _, ids in words], "int64")
        anything = [[-1] * (longest - len(ids)) + [*ids[:-1]] for _, ids in words]
        self.beginnings = np.array(anything, "int64").reshape(len(words), longest - 1)

    @staticmethod
    def is_asked(options):
        return bool(options.bad_words)

    def __call__(self, logits, own, history):
        before = history.last(self.beginnings.shape[1])[self.rows]
        fits = ((self.beginnings == before) | (self.beginnings == -1)).all(axis=1)
        logits = logits.copy()
        logits[self.rows[fits], self.last[fits]] = -np.inf
        return logits


class Bias:
    """logit + bias; a suppressed token has the bias -inf."""

    def __init__(self, searches):
        biases = [
            (i, token_id, bias)
            for i, search in enumerate(searches)
            for token_id, bias in (
                *search.options.logit_bias,
                *((token_id, -np.inf) for token_id in search.options.suppress_ids),
            )
        ]
        rows, ids, values = zip(*biases)
        self.where, self.values = (np.array(rows), np.array(ids)), np.array(values, "float32")

    @staticmethod
    def is_asked(options):
        return bool(options.logit_bias or options.suppress_ids)

    def __call__(self, logits, own, history):
        logits = logits.copy()
        np.add.at(logits, self.where, self.values)
        return logits


class MinimumLength:
    """No end token before there are `min_tokens` others."""

    def __init__(self, searches):
        self.least = _column(searches, "min_tokens")[:, 0]
        self.end_id = searches[0].end_id

    @staticmethod
    def is_asked(options):
        return options.min_tokens > 0

    def __call__(self, logits, own, history):
        logits = logits.copy()
        logits[history.written < self.least, self.end_id] = -np.inf
        return logits


class WayOut:
    """The end token where nothing else is possible, whatever the rules before this one say."""

    def __init__(self, searches):
        self.end_id = searches[0].end_id

    @staticmethod
    def is_asked(options):
        return any(map(options.__getattribute__, _FORBIDDING))

    def __call__(self, logits, own, history):
        stuck = ~np.isfinite(logits[:, PAD_ID + 1 :]).any(axis=1)
        logits = logits.copy()
        logits[stuck, self.end_id] = own[stuck, self.end_id]
        return logits


class Prefix:
    """The tokens that a text has to begin with, whatever the rules before this one say."""

    def __init__(self, searches):
        longest = max(len(search.prefix_ids) for search in searches)
        self.ids = np.array(
            [[*s.prefix_ids, *[PAD_ID] * (longest + 1 - len(s.prefix_ids))] for s in searches]
        )

    @staticmethod
    def is_asked(options):
        return bool(options.prefix)

    def __call__(self, logits, own, history):
        at = np.minimum(history.written, self.ids.shape[1] - 1)
        ids = self.ids[np.arange(len(at)), at]
        rows = np.flatnonzero(ids != PAD_ID)
        logits = logits.copy()
        logits[rows] = -np.inf
        logits[rows, ids[rows]] = own[rows, ids[rows]]
        return logits


_FORBIDDING = ("no_repeat_ngram", "bad_words", "suppress_ids", "min_tokens")

FILTERS: tuple[type[Filter], ...] = (
    RepetitionPenalty,
    FrequencyPenalty,
    NoRepeatedNgrams,
    BadWords,
    Bias,
    MinimumLength,
    WayOut,
    Prefix,
)
"""All, in the order in which they act."""


def filters_of(searches: Sequence[Search]) -> list[Filter]:
    """The filters that some of the rows ask for, made for all of them.

    Args:
        searches: that each row belongs to, one a row.
    """
    options = {search.options for search in searches}
    return [rule(searches) for rule in FILTERS if any(map(rule.is_asked, options))]


def _column(searches, option):
    """An option of each row, `(rows, 1)`."""
    return np.array([[getattr(search.options, option)] for search in searches], "float32")
