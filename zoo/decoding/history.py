"""The tokens of all rows of a batch, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.contract import PAD_ID


@dataclass(frozen=True)
class History:
    """The tokens of every row so far, those of the prompt too, aligned at the right.

    Args:
        ids: `(rows, time)` int32, 0 at the left of those that have fewer.
        lengths: `(rows,)`, how many each has.
        written: `(rows,)`, how many of them, at the right, are no prompt.
        totals: `(rows,)` float64, sum of the scores of what is written.
    """

    ids: np.ndarray
    lengths: np.ndarray
    written: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> "History":
        """One row a prompt, with nothing written."""
        lengths = np.array([len(prompt) for prompt in prompts], "int64")
        longest = int(lengths.max(initial=0))
        ids = [[*[PAD_ID] * (longest - len(prompt)), *prompt] for prompt in prompts]
        rows = len(prompts)
        return cls(
            np.array(ids, "int32").reshape(rows, longest),
            lengths,
            np.zeros(rows, "int64"),
            np.zeros(rows),
        )

    def last(self, n: int) -> np.ndarray:
        """The last n tokens, `(rows, n)`; 0 where there are fewer."""
        missing = max(n - self.ids.shape[1], 0)
        if not missing:
            return self.ids[:, self.ids.shape[1] - n :]
        return np.pad(self.ids, [(0, 0), (missing, 0)])

    def take(self, rows) -> "History":
        """These rows, in that order."""
        lengths = self.lengths[rows]
        ids = self.ids[rows, self.ids.shape[1] - lengths.max(initial=0) :]
        return History(ids, lengths, self.written[rows], self.totals[rows])

    def append(self, token_ids: Sequence[int], totals: Sequence[float]) -> "History":
        """One token more in each row, and its new sum of scores."""
        new = np.array(token_ids, "int32").reshape(-1, 1)
        ids = np.concatenate([self.ids, new], axis=1)
        return History(ids, self.lengths + 1, self.written + 1, np.array(totals, "float64"))

    def join(self, other: "History") -> "History":
        """The rows of both."""
        time = max(self.ids.shape[1], other.ids.shape[1])
        return History(
            np.concatenate([self.last(time), other.last(time)]),
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.written, other.written]),
            np.concatenate([self.totals, other.totals]),
        )
