"""Which tokens are possible: rules on the logits of all rows at once."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from zoo.contract import PAD_ID, log_softmax
from zoo.decoding.rows import Row


class Filter(Protocol):
    """A rule, made anew whenever the rows of a batch change, and called at every step.

    A row that does not ask for a rule goes through it unchanged, so that no row depends on those
    beside it.
    """

    def __init__(self, rows: Sequence[Row]): ...

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """New logits `(rows, vocabulary_size)`, -inf where a token is ruled out."""
        ...


class NoPadding:
    """Padding is no token: nothing writes it."""

    def __init__(self, rows):
        pass

    def __call__(self, logits):
        return np.where(np.arange(logits.shape[1]) == PAD_ID, -np.inf, logits)


class Temperature:
    """logits / temperature, the largest logit moved to 0 so that no temperature is too low."""

    def __init__(self, rows):
        self.temperature = _column(rows, "temperature")

    def __call__(self, logits):
        with np.errstate(over="ignore"):
            return (logits - logits.max(axis=1, keepdims=True)) / self.temperature


class TopK:
    """Only the k most probable tokens; as many more as are equal to the last of them."""

    def __init__(self, rows):
        self.k = _column(rows, "top_k", none=np.iinfo("int64").max)

    def __call__(self, logits):
        last = logits.shape[1] - np.minimum(self.k, logits.shape[1])
        return _at_least(np.take_along_axis(np.sort(logits), last, axis=1), logits)


class TopP:
    """Only the fewest most probable tokens that have probability p together, and their equals."""

    def __init__(self, rows):
        self.p = _column(rows, "top_p", none=np.inf)

    def __call__(self, logits):
        descending = -np.sort(-logits)
        probabilities = np.exp(log_softmax(descending))
        before = np.cumsum(probabilities, axis=1) - probabilities
        last = np.sum(before < self.p, axis=1, keepdims=True) - 1
        return _at_least(np.take_along_axis(descending, last, axis=1), logits)


def _at_least(least, logits):
    return np.where(logits < least, -np.inf, logits)


def _column(rows, option, none=None):
    """An option of each row, `(rows, 1)`."""
    values = [getattr(row.options, option) for row in rows]
    return np.array([[none if value is None else value] for value in values])
