"""Which of the possible tokens comes next."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from zoo.contract import log_softmax
from zoo.decoding.filters import Temperature, TopK, TopP
from zoo.decoding.rows import Row


class Strategy(Protocol):
    """Made anew whenever its rows change, and called at every step."""

    def __init__(self, rows: Sequence[Row]): ...

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """The next token of each row: `(rows, vocabulary_size)` -> `(rows,)`."""
        ...


class Greedy:
    """The most probable token, the lowest id where several are."""

    def __init__(self, rows):
        pass

    def __call__(self, logits):
        return logits.argmax(axis=1)


class Sampling:
    """A token drawn with the probability that temperature, top-k and top-p leave it."""

    def __init__(self, rows):
        asked = [Temperature]
        asked += [TopK] if any(row.options.top_k for row in rows) else []
        asked += [TopP] if any(row.options.top_p for row in rows) else []
        self.filters = [rule(rows) for rule in asked]
        self.generators = [row.generator for row in rows]

    def __call__(self, logits):
        for rule in self.filters:
            logits = rule(logits)
        cumulative = np.cumsum(np.exp(log_softmax(logits)), axis=1, dtype="float64")
        # One draw a row from its own generator: the row's text does not depend on the others.
        draws = np.array([[generator.random()] for generator in self.generators])
        return (cumulative > draws * cumulative[:, -1:]).argmax(axis=1)


def strategy_of(row: Row) -> type[Strategy]:
    """The strategy that a row's options ask for."""
    return Sampling if row.options.temperature else Greedy
