"""Continuous batching: texts join and leave the running batch of a model between two tokens.

One thread runs all models. At each turn every model that has work reads some tokens of the prompts
that wait, and writes one token of every text that runs, so that a long prompt does not hold up the
texts beside it, nor one model another. HTTP requests take turns: each that waits gets one text into
the batch before any gets its second.

The event loop hands a `Call` in and gets its events back; it never waits for a model.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from serving.call import Call
from serving.errors import DeadlineExceeded, EngineFailed, QueueFull, RequestError, Stopping
from serving.limits import Limits
from serving.metrics import Metrics
from zoo.bundle import Bundle, Classifier
from zoo.decoding import (
    Decoder,
    InvalidOption,
    Options,
    Parts,
    Request,
    generate,
    prompt_reader,
)

_logger = logging.getLogger("bentoml.zoo")


class Engine:
    """The thread that runs the models.

    Args:
        bundles: the models by name, each a `Bundle` or a `Classifier`.
        limits: what is taken on.
        metrics: what is counted.

    Attributes:
        is_ready: every model has answered once.
    """

    def __init__(self, bundles: Mapping[str, Any], limits: Limits, metrics: Metrics):
        self.bundles, self.limits, self.metrics = bundles, limits, metrics
        self.is_ready = False
        self._changed = threading.Condition()
        # Under the lock: what the event loop has handed in, and how many texts wait in all.
        self._inbox: deque[Call] = deque()
        self._waiting = 0
        self._stop_at: float | None = None
        self._lanes = {name: self._lane(name) for name in bundles}
        self._out: deque[tuple[Call, Any]] = deque()  # events on their way to the event loop
        self._is_told = False  # whether the event loop knows of them
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # === In the event loop ===

    def start(self) -> None:
        """Begins; to be called in the event loop that is to get the events."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, call: Call) -> Call:
        """Takes a call up, or refuses it at once.

        Raises:
            QueueFull, Stopping: it is not taken up.
        """
        with self._changed:
            if self._stop_at is not None:
                raise Stopping
            if self._waiting + call.waiting > self.limits.max_queue:
                self.metrics.rejected.inc()
                raise QueueFull
            self._waits(call.waiting)
            self._inbox.append(call)
            self._changed.notify()
        return call

    def drain(self) -> None:
        """Refuses what is new; what runs may go on for `drain_seconds`."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self.limits.drain_seconds

    def stop(self) -> None:
        """Waits until nothing runs any more."""
        self.drain()
        with self._changed:
            self._changed.notify()
        self._thread.join()

    # === In the thread ===

    def _run(self):
        self.is_ready = all(map(self._answers, self.bundles))
        while self._take_in():
            for name, lane in self._lanes.items():
                try:
                    lane.turn()
                except Exception:
                    _logger.exception("model %s has failed; it begins anew", name)
                    self.metrics.failures.inc()
                    lane.end({call: EngineFailed() for call in lane.calls}, gone=True)
                    self._lanes[name] = self._lane(name)
            self._give_out()

    def _answers(self, name):
        """Whether a model can; with one that cannot, the service never is ready."""
        try:
            _answer_once(self.bundles[name])
        except Exception:
            _logger.exception("model %s does not answer", name)
            return False
        return True

    def _lane(self, name):
        return Lane(self.bundles[name], self.limits, self.metrics, self._emit, self._admitted)

    def _take_in(self):
        """Hands new calls to their models, waits where there are none; whether to go on."""
        with self._changed:
            while not self._inbox and not any(lane.calls for lane in self._lanes.values()):
                if self._stop_at is not None:
                    return False
                self._changed.wait()
            new, self._inbox = self._inbox, deque()
        for call in new:
            self._lanes[call.model].add(call)
        if self._stop_at is not None and time.monotonic() >= self._stop_at:
            for lane in self._lanes.values():
                lane.end({call: Stopping() for call in lane.calls})
        return True

    def _admitted(self, count):
        with self._changed:
            self._waits(-count)

    def _waits(self, count):
        self._waiting += count
        self.metrics.waiting.set(self._waiting)

    def _emit(self, call, event):
        self._out.append((call, event))

    def _give_out(self):
        """Wakes the event loop, unless it has yet to come to what it was woken for before."""
        if self._out and not self._is_told:
            self._is_told = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self):
        """Hands the events over; in the event loop."""
        self._is_told = False
        while self._out:
            call, event = self._out.popleft()
            call.receive(event)


class Lane:
    """The work of one model.

    Args:
        bundle: the model.
        limits: what is taken on.
        metrics: what is counted.
        emit: takes a call and its next event.
        admitted: takes how many texts have left the queue.

    Attributes:
        calls: all that have not ended.
    """

    def __init__(self, bundle: Bundle, limits: Limits, metrics: Metrics, emit, admitted):
        self.calls: set[Call] = set()
        self._bundle, self._limits, self._metrics = bundle, limits, metrics
        self._emit, self._admitted = emit, admitted
        self._decoder = Decoder(bundle, bundle.tokenizer)
        self._waiting: deque[Call] = deque()
        self._readings: deque[_Reading] = deque()
        self._writings: dict[int, _Writing] = {}  # by the decoder's numbers
        self._written_at: float | None = None  # the last tokens, where texts run

    def add(self, call: Call) -> None:
        """Puts a call into the queue."""
        self.calls.add(call)
        self._waiting.append(call)

    def turn(self) -> None:
        """Reads some tokens of prompts, and writes one token of every text."""
        now = time.monotonic()
        over = [call for call in self.calls if call.is_cancelled or now >= call.deadline]
        self.end({call: None if call.is_cancelled else DeadlineExceeded() for call in over})
        self._admit()
        self._read()
        if self._writings:
            self._write()
        else:
            self._written_at = None

    def end(self, calls: Mapping[Call, RequestError | None], gone: bool = False) -> None:
        """Ends calls, each with an error or, where nobody waits for it, without a word.

        Args:
            calls: with the error of each.
            gone: nothing is to be taken from the decoder, since that has failed.
        """
        if not calls:
            return
        for call, error in calls.items():
            if error is None:
                self._metrics.cancelled.inc()
            self._emit(call, error)
            if call in self._waiting:
                self._waiting.remove(call)
                self._admitted(call.waiting)
        self.calls = self.calls - set(calls)
        if not gone:
            numbers = [n for n, writing in self._writings.items() if writing.call in calls]
            if numbers:
                self._decoder.remove(numbers)
            self._writings = {n: w for n, w in self._writings.items() if n not in numbers}
            self._readings = deque(r for r in self._readings if r.calls & self.calls)

    # === Reading ===

    def _admit(self):
        """Takes waiting texts up, one of each call in turn; prompts that fit are read together."""
        rows = sum(search.options.beam_size for search in self._decoder.searches)
        rows += sum(reading.rows for reading in self._readings)
        group: list[_Writing] = []
        while self._waiting:
            call = self._waiting[0]
            beams = 1 if call.work else call.requests[0][1].options.beam_size
            if rows + beams > self._limits.max_rows:
                break  # nobody passes who waits for many rows
            if call.work is None and not self._fits(group, call.requests[0][1]):
                break
            self._waiting.popleft()
            rows += beams
            self._admitted(1)
            self._metrics.queue_seconds.observe(time.monotonic() - call.begun)
            if call.work:
                parts = call.work(self._bundle, self._limits.prefill_tokens)
                self._readings.append(_Reading({call}, 1, parts))
                continue
            group.append(_Writing(call, *call.requests.popleft()))
            if call.requests:
                self._waiting.append(call)
        if group:
            beams = sum(writing.request.options.beam_size for writing in group)
            calls = {writing.call for writing in group}
            self._readings.append(_Reading(calls, beams, self._prefill(group)))

    def _fits(self, group, request):
        """Whether a prompt can be read together with others within one turn."""
        longest = max(_length(r) for r in [request, *(writing.request for writing in group)])
        return not group or (len(group) + 1) * longest <= self._limits.prefill_tokens

    def _prefill(self, group):
        requests = [writing.request for writing in group]
        reader = prompt_reader(self._bundle, requests)
        yield sum(len(request.source_ids or ()) for request in requests)
        size = max(1, self._limits.prefill_tokens // len(group))
        while reader.left:
            reader.read(size, want=0)
            yield size * len(group)
        self._writings |= zip(self._decoder.add(requests, reader.state), group)
        # Who has left meanwhile was read all the same, but gets no token.
        left = {n: w for n, w in self._writings.items() if w.call not in self.calls}
        self._decoder.remove(left)
        self._writings = {n: w for n, w in self._writings.items() if n not in left}
        self._metrics.tokens_in.inc(sum(map(_length, requests)))

    def _read(self):
        """Parts of what is to be read, each in turn, until there are enough tokens."""
        left = self._limits.prefill_tokens
        while self._readings and left > 0:
            reading = self._readings.popleft()
            try:
                left -= next(reading.parts)
                self._readings.append(reading)
            except StopIteration as end:
                if end.value is not None:
                    self._finish(reading, end.value, None)
            except InvalidOption as error:
                self._finish(reading, error)

    def _finish(self, reading, *events):
        (call,) = reading.calls
        for event in events:
            self._emit(call, event)
        self.calls.discard(call)

    # === Writing ===

    def _write(self):
        self._metrics.batch_rows.observe(sum(len(s.rows) for s in self._decoder.searches))
        pieces = self._decoder.step()
        now = time.monotonic()
        self._metrics.tokens_out.inc(len(pieces))
        if self._written_at is not None:
            self._metrics.between_tokens_seconds.observe(now - self._written_at)
        self._written_at = now
        for piece in pieces:
            writing = self._writings[piece.request]
            call = writing.call
            if not writing.has_begun:
                writing.has_begun = True
                self._metrics.first_token_seconds.observe(now - call.begun)
            if call.streams or piece.result:
                self._emit(call, (writing.index, piece))
            if piece.result:
                del self._writings[piece.request]
                call.left -= 1
                if not call.left:
                    self._emit(call, None)
                    self.calls.discard(call)


class _Reading:
    """Work on prompts: of which calls, for how many rows, and its parts."""

    def __init__(self, calls: set[Call], rows: int, parts: Parts[Any]):
        self.calls, self.rows, self.parts = calls, rows, parts


class _Writing:
    """A text: of which call, its number there, what was asked, and whether it has a token."""

    def __init__(self, call: Call, index: int, request: Request):
        self.call, self.index, self.request = call, index, request
        self.has_begun = False


def _length(request):
    return len(request.prompt_ids) + len(request.source_ids or ())


def _answer_once(bundle):
    if isinstance(bundle, Classifier):
        bundle.classify([[bundle.tokenizer.eos_id]])
        return
    tokenizer, source = bundle.tokenizer, None if bundle.source_tokenizer is None else ""
    request = Request.of(tokenizer, "", source, Options(max_tokens=1), bundle.source_tokenizer)
    generate(bundle, tokenizer, [request])
