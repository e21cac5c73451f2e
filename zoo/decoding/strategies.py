"""Which of the possible tokens come next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from zoo.contract import (
    largest,
    log_normalizers,
    log_probabilities,
    log_softmax,
    most_probable,
)
from zoo.decoding.options import Options
from zoo.decoding.search import Search


@dataclass(frozen=True)
class Candidates:
    """Tokens that may come next: all, in the order of their ids, or the best, the best first.

    Args:
        ids: `(rows, n)`; `None` where they are all, since the columns are the ids then.
        scores: `(rows, n)`, their log-probabilities with what the filters have added.
        log_probs: `(rows, n)`, those in the model.
    """

    ids: np.ndarray | None
    scores: np.ndarray
    log_probs: np.ndarray

    @classmethod
    def of_best(cls, ids: np.ndarray, log_probs: np.ndarray) -> "Candidates":
        """The best in the model."""
        return cls(ids, log_probs, log_probs)

    @classmethod
    def of_all(cls, own: np.ndarray, filtered: np.ndarray) -> "Candidates":
        """All, from the logits of the model and those that the filters have made of them."""
        normalizers = log_normalizers(own)
        log_probs = log_probabilities(own, normalizers)
        if filtered is own:
            return cls(None, log_probs, log_probs)
        return cls(None, log_probabilities(filtered, normalizers), log_probs)

    def token_ids(self, rows, columns) -> np.ndarray:
        """The tokens in these places."""
        return columns if self.ids is None else self.ids[rows, columns]

    def best(self, k: int) -> "Candidates":
        """The k best of each row, the best first."""
        if self.ids is not None:
            return Candidates(self.ids[:, :k], self.scores[:, :k], self.log_probs[:, :k])
        columns = largest(self.scores, k)
        at = np.arange(len(columns))[:, None], columns
        return Candidates(self.token_ids(*at), self.scores[at], self.log_probs[at])

    def most_probable(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and log-probabilities of the k most probable tokens in the model, the best first."""
        if self.ids is not None:
            return self.ids[:, :k], self.log_probs[:, :k]
        return most_probable(self.log_probs, k)

    def take(self, rows: np.ndarray) -> "Candidates":
        """Those of some rows, which stay in their order."""
        if len(rows) == len(self.scores):
            return self
        ids = None if self.ids is None else self.ids[rows]
        return Candidates(ids, self.scores[rows], self.log_probs[rows])


@dataclass(frozen=True)
class Choice:
    """Tokens that come next, those of one request together and the best first.

    Args:
        rows: `(n,)`, which row each continues.
        token_ids, log_probs: `(n,)`.
        totals: `(n,)`, of the rows that they make.
    """

    rows: np.ndarray
    token_ids: np.ndarray
    log_probs: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, candidates: Candidates, totals, rows, columns) -> "Choice":
        """The candidates in these rows and columns."""
        at = rows, columns
        sums = totals[rows] + candidates.scores[at]
        return cls(rows, candidates.token_ids(*at), candidates.log_probs[at], sums)

    def tokens(self):
        """Lists of the tokens, their log-probabilities and the totals."""
        return self.token_ids.tolist(), self.log_probs.tolist(), self.totals.tolist()


class Strategy(Protocol):
    """Made anew whenever its rows are others, and called at every step.

    Args:
        searches: that each row belongs to, one a row.

    Attributes:
        want: how many of the best candidates it needs of each row; `None`: all tokens.
    """

    want: int | None

    def __init__(self, searches: Sequence[Search]): ...

    def __call__(self, candidates: Candidates, totals: np.ndarray) -> Choice:
        """What comes next.

        Args:
            candidates: at least those that it wants.
            totals: `(rows,)`, sum of the scores of each row so far.
        """
        ...


class Greedy:
    """The most probable token, the lowest id where several are."""

    want: int | None = 1

    def __init__(self, searches):
        self.rows = np.arange(len(searches))

    def __call__(self, candidates, totals):
        return Choice.of(candidates, totals, self.rows, candidates.scores.argmax(axis=1))


class Sampling:
    """A token drawn with the probability that temperature, top-p and min-p leave it."""

    want: int | None = None

    def __init__(self, searches):
        self.rows = np.arange(len(searches))
        self.generators = [search.generator for search in searches]
        self.temperature = _column(searches, "temperature")
        self.top_p = _column(searches, "top_p", none=np.inf)
        self.min_p = _column(searches, "min_p", none=0.0)

    def __call__(self, candidates, totals):
        scores = sharpened(candidates.scores, self.temperature)
        if np.isfinite(self.top_p).any():
            scores = most_of_the_mass(scores, self.top_p)
        if self.min_p.any():
            scores = near_the_best(scores, self.min_p)
        cumulative = np.cumsum(np.exp(log_softmax(scores)), axis=1, dtype="float64")
        # One draw a row from its own generator: the row's text does not depend on the others.
        draws = np.array([[generator.random()] for generator in self.generators])
        columns = (cumulative > draws * cumulative[:, -1:]).argmax(axis=1)
        return Choice.of(candidates, totals, self.rows, columns)


class TopKSampling(Sampling):
    """The same among the k most probable tokens, the lower ids where several are equal."""

    def __init__(self, searches):
        super().__init__(searches)
        self.k = _column(searches, "top_k")
        self.want = max(search.options.top_k for search in searches)

    def __call__(self, candidates, totals):
        candidates = candidates.best(self.want)
        is_in = np.arange(candidates.scores.shape[1]) < self.k
        scores = np.where(is_in, candidates.scores, -np.inf)
        candidates = Candidates(candidates.ids, scores, candidates.log_probs)
        return super().__call__(candidates, totals)


class BeamSearch:
    """The texts of the greatest sums of scores, `beam_size` of each request at every step.

    Twice as many are chosen, so that enough go on where every row may end.
    """

    def __init__(self, searches):
        self.want = 2 * max(search.options.beam_size for search in searches)
        starts = [i for i, s in enumerate(searches) if i == 0 or s is not searches[i - 1]]
        sizes = np.diff([*starts, len(searches)])
        self.starts, self.most_rows = np.array(starts), sizes.max()
        self.group = np.arange(len(starts)).repeat(sizes)  # of each row, the request
        self.place = np.arange(len(searches)) - self.starts[self.group]  # and its number in that
        self.counts = np.array([[2 * searches[start].options.beam_size] for start in starts])

    def __call__(self, candidates, totals):
        candidates = candidates.best(self.want)
        width = candidates.scores.shape[1]
        sums = np.full((len(self.starts), self.most_rows, width), -np.inf)
        sums[self.group, self.place] = totals[:, None] + candidates.scores
        sums = sums.reshape(len(sums), -1)
        order = largest(sums, self.want)
        chosen = np.arange(order.shape[1]) < self.counts
        chosen &= np.isfinite(np.take_along_axis(sums, order, axis=1))
        places, columns = np.divmod(order[chosen], width)
        rows = self.starts[np.nonzero(chosen)[0]] + places
        return Choice.of(candidates, totals, rows, columns)


def strategy_of(options: Options) -> type[Strategy]:
    """The strategy that a request's options ask for."""
    if options.beam_size > 1:
        return BeamSearch
    if options.temperature == 0:
        return Greedy
    return TopKSampling if options.top_k else Sampling


# === What sampling draws from: `(rows, n)` scores and `(rows, 1)` options give new scores ===


def sharpened(scores, temperature):
    """scores / temperature, the largest one moved to 0 so that no temperature is too low."""
    with np.errstate(over="ignore"):
        return (scores - scores.max(axis=1, keepdims=True)) / temperature


def most_of_the_mass(scores, p):
    """Only the fewest most probable tokens that have probability p together, and their equals."""
    descending = -np.sort(-scores)
    probabilities = np.exp(log_softmax(descending))
    before = np.cumsum(probabilities, axis=1) - probabilities
    last = np.sum(before < p, axis=1, keepdims=True) - 1
    return _at_least(np.take_along_axis(descending, last, axis=1), scores)


def near_the_best(scores, p):
    """Only the tokens that are at least p times as probable as the most probable one."""
    with np.errstate(divide="ignore"):
        return _at_least(scores.max(axis=1, keepdims=True) + np.log(p), scores)


def _at_least(least, scores):
    return np.where(scores < least, -np.inf, scores)


def _column(searches, option, none=None):
    """An option of each row, `(rows, 1)`."""
    values = [getattr(search.options, option) for search in searches]
    return np.array([[none if value is None else value] for value in values])
