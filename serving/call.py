"""What one HTTP request asks of the engine, and what comes back of it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from zoo.bundle import Bundle
from zoo.decoding import Parts, Piece, Request, Result

_MOST = 64
"""Events that are handed on at once: the event loop is not to be held up by one client's."""

Work = Callable[[Bundle, int], Parts[Any]]
"""Gives what is read of a model in parts of so many tokens."""


class Call:
    """What one HTTP request asks of a model, and what comes back.

    Args:
        model: name of it.
        seconds: the request has failed after so many.
        requests: texts to be written.
        work: or something to be read.
        streams: whether each token is an event, and not only the last one of a text.
    """

    def __init__(
        self,
        model: str,
        seconds: float,
        requests: Sequence[Request] = (),
        work: Work | None = None,
        streams: bool = False,
    ):
        self.model = model
        self.requests = deque(enumerate(requests))  # that wait
        self.work = work
        self.streams = streams
        self.begun = time.monotonic()
        self.deadline = self.begun + seconds
        self.left = len(requests)  # that have not ended
        self.is_cancelled = False
        self._events: deque[Any] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many places of the queue it takes."""
        return len(self.requests) if self.work is None else 1

    def cancel(self) -> None:
        """Nobody waits for it any more: the next token is not written."""
        self.is_cancelled = True

    async def result(self) -> Any:
        """What the work returns.

        Raises:
            RequestError: it has come to nothing.
            InvalidOption: it is not possible.
        """
        (value,) = [value async for values in self._arrivals() for value in values]
        return value

    async def results(self) -> list[Result]:
        """One result a text; raises as `result`."""
        pieces = [piece async for pieces in self._arrivals() for piece in pieces]
        found = {index: piece.result for index, piece in pieces if piece.result}
        return [found[index] for index in sorted(found)]

    async def pieces(self) -> AsyncIterator[list[tuple[int, Piece]]]:
        """The tokens that have come, each with the number of its text; raises as `result`.

        Who is slow to ask gets several at once, though no more than others can wait for.
        """
        async for pieces in self._arrivals():
            yield pieces

    async def _arrivals(self):
        last: Any = ()
        try:
            while last is not None:
                await self._arrived.wait()
                events = [self._events.popleft() for _ in range(min(_MOST, len(self._events)))]
                if not self._events:
                    self._arrived.clear()
                last = events[-1]
                if isinstance(last, Exception) or last is None:
                    events.pop()
                if events:
                    yield events
                if isinstance(last, Exception):
                    raise last
                if self._events:
                    await asyncio.sleep(0)  # the turn of others
        finally:
            self.cancel()

    def receive(self, event: Any) -> None:
        """Takes an event in: a value, an error, or `None` after the last."""
        self._events.append(event)
        self._arrived.set()
