"""The loop: one token a row at every step, for any model, any options, any mixture of rows."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zoo.contract import Decodable
from zoo.decoding.filters import Filter, filters_of
from zoo.decoding.history import History
from zoo.decoding.request import Piece, Request, Result, Top
from zoo.decoding.scoring import attention, check_length, check_rows, read_prompts, tops
from zoo.decoding.search import Continuation, Search
from zoo.decoding.strategies import Candidates, Strategy, strategy_of


def generate(model: Decodable, tokenizer, requests: Sequence[Request]) -> list[Result]:
    """Writes the texts of all requests, together.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.
        requests: what to write.

    Returns:
        One result a request.

    Raises:
        InvalidOption: a text may get longer than the model can read, or an option does not suit
            the tokenizer.
    """
    pieces = stream(model, tokenizer, requests)
    results = {piece.request: piece.result for piece in pieces if piece.result}
    return [results[number] for number in range(len(requests))]


def stream(model: Decodable, tokenizer, requests: Sequence[Request]) -> Iterator[Piece]:
    """The same as `generate`, token by token: the pieces of each request in their order.

    A beam search has nothing to give before its end, when it gives all pieces of the best text.
    """
    decoder = Decoder(model, tokenizer)
    for together in [requests] if model.ragged else [[request] for request in requests]:
        decoder.add(together)
        while decoder.searches:
            yield from decoder.step()


def check_request(model: Decodable, tokenizer, request: Request) -> None:
    """Raises the `InvalidOption` that `Decoder.add` would, for who cannot wait for it."""
    check_length(model, request, request.options.max_tokens)
    Search(0, request, tokenizer)


class Decoder:
    """Requests to one model that are written together; they come and go between two steps.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.

    Attributes:
        searches: the requests that are being written.
    """

    def __init__(self, model: Decodable, tokenizer):
        self.searches: list[Search] = []
        self._model = model
        self._tokenizer = tokenizer
        self._added = 0
        self._owners: list[Search] = []  # that each row belongs to
        self._filters: list[Filter] = []
        self._strategies: list[tuple[Strategy, np.ndarray]] = []  # with the rows of each
        self._state: Any = None
        self._taken: np.ndarray | None = None  # the rows of the state that are the rows now
        self._history = History.of([])

    def add(self, requests: Sequence[Request], state: Any = None) -> list[int]:
        """Reads sources and prompts, each prompt but for its last token: the next step reads it.

        Args:
            requests: what to write.
            state: after all that, where a `prompt_reader` has read it already.

        Returns:
            The numbers of the requests, which their pieces bear.

        Raises:
            InvalidOption: a text may get longer than the model can read, or an option does not
                suit the tokenizer.
            ValueError: the model writes one text at a time.
        """
        if not requests:
            return []
        check_rows(self._model, len(self.searches) + len(requests))
        for request in requests:
            check_length(self._model, request, request.options.max_tokens)
        new = [
            Search(number, request, self._tokenizer)
            for number, request in enumerate(requests, self._added)
        ]
        state = read_prompts(self._model, requests) if state is None else state
        history = History.of([request.prompt_ids for request in requests])
        if self.searches:
            state = self._model.join([self._settled(), state])
            history = self._history.join(history)
        self._added += len(new)
        self._state, self._taken, self._history = state, None, history
        self._set_searches(self.searches + new)
        return [search.number for search in new]

    def remove(self, numbers: Container[int]) -> None:
        """Gives requests up, whatever is written of them."""
        self._take([i for i, owner in enumerate(self._owners) if owner.number not in numbers])
        self._set_searches([s for s in self.searches if s.number not in numbers])

    def step(self) -> list[Piece]:
        """Writes one token in every text; a request whose piece has a result is gone."""
        chosen = self._choose(self._read())
        pieces = [
            self._look_back(search.request, piece)
            for search in self.searches
            for piece in search.advance(chosen[search.number])
        ]
        self._take([parent for search in self.searches for parent in search.parents])
        rows = [row for search in self.searches for row in search.rows]
        self._history = self._history.append(
            [row.last_id for row in rows], [row.total for row in rows]
        )
        self._set_searches([search for search in self.searches if search.rows])
        return pieces

    def _read(self) -> Candidates:
        """Reads the last token of every row, for the tokens that may come next."""
        wants = [strategy.want for strategy, _ in self._strategies]
        wants += [search.request.top for search in self.searches]
        want = max((k for k in wants if k), default=0)
        needs_all = bool(self._filters) or None in wants
        read, self._state = self._model.step(
            self._history.last(1), self._state, self._taken, "logits" if needs_all else want
        )
        self._taken = None
        if not needs_all:
            return Candidates.of_best(*read)
        own = logits = read[:, 0]
        for rule in self._filters:
            logits = rule(logits, own, self._history)
        return Candidates.of_all(own, logits)

    def _choose(self, candidates: Candidates) -> dict[int, list[Continuation]]:
        """What may continue each request, by its number, the best first."""
        rows = [row for search in self.searches for row in search.rows]
        chosen: dict[int, list[Continuation]] = {search.number: [] for search in self.searches}
        most_probable = self._tops(candidates)
        for strategy, members in self._strategies:
            choice = strategy(candidates.take(members), self._history.totals[members])
            parents = members[choice.rows].tolist()
            for parent, token_id, log_prob, total in zip(parents, *choice.tokens()):
                top = most_probable[parent]
                continuation = Continuation(rows[parent], parent, token_id, log_prob, total, top)
                chosen[self._owners[parent].number].append(continuation)
        return chosen

    def _tops(self, candidates: Candidates) -> list[Top]:
        """For each row the most probable tokens in the model, as many as its request asks for."""
        counts = [owner.request.top for owner in self._owners]
        if not any(counts):
            return [()] * len(counts)
        found = tops(*candidates.most_probable(max(counts)))
        return [top[:count] for top, count in zip(found, counts)]

    def _look_back(self, request: Request, piece: Piece) -> Piece:
        """The piece, its result with the attention weights that were asked for."""
        if not piece.result or not request.attention:
            return piece
        weights = attention(self._model, request, piece.result.token_ids)
        return replace(piece, result=replace(piece.result, attention=weights))

    # === The rows of the batch ===

    def _take(self, rows: list[int]) -> None:
        """The rows are now these of those before; the state follows when it is next needed."""
        if rows == list(range(len(self._owners))):
            return
        self._history = self._history.take(rows)
        self._taken = np.array(rows, "int64") if self._taken is None else self._taken[rows]
        if len(rows) < len(self._owners):
            self._state, self._taken = self._model.trim(self._settled()), None

    def _settled(self) -> Any:
        """The state of the rows as they are."""
        taken = self._taken
        return self._state if taken is None else self._model.take(self._state, taken)

    def _set_searches(self, searches: list[Search]) -> None:
        self.searches = searches
        owners = [search for search in searches for _ in search.rows]
        if owners == self._owners:
            return
        self._owners = owners
        self._filters = filters_of(owners)
        members: dict[type[Strategy], list[int]] = {}
        for i, owner in enumerate(owners):
            members.setdefault(strategy_of(owner.options), []).append(i)
        self._strategies = [
            (strategy([owners[i] for i in rows]), np.array(rows))
            for strategy, rows in members.items()
        ]
