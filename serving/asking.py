"""From messages to calls of the engine and back, for whichever endpoint."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from serving.call import Call, Work
from serving.engine import Engine
from serving.errors import RequestError, described, error_body
from serving.messages import ModelCard, Token, Usage
from zoo.bundle import Bundle, Task
from zoo.decoding import InvalidOption, Request, Top, check_request

T = TypeVar("T")
_json = TypeAdapter(Any).dump_json
_ENDPOINTS: dict[Task, str] = {
    "text-generation": "/generate",
    "translation": "/translate",
    "text-classification": "/classify",
}
_MUCH = 10_000
"""Characters to be encoded, or numbers to be told, for which the event loop does not wait."""


class Naming:
    """Tokens by what they stand for in a text; those that stand for nothing by their names."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def name(self, token_id: int) -> str:
        return self._tokenizer.decode([token_id]) or self._tokenizer.token(token_id)

    def top(self, top: Top) -> list[Token]:
        """The tokens that a decoder tells in the place of one."""
        return [
            Token(token_id=token_id, token=self.name(token_id), probability=math.exp(log_prob))
            for token_id, log_prob in top
        ]


async def aside(size: int, work: Callable[[], T]) -> T:
    """What some work returns, which is done in a thread where there is much of it."""
    return await run_in_threadpool(work) if size > _MUCH else work()


class Asker:
    """Checks what is asked against models and limits, and asks the engine.

    Every method raises `RequestError` or `InvalidOption` for what is not possible.
    """

    def __init__(self, engine: Engine):
        self.engine, self.limits = engine, engine.limits

    def bundle(self, name: str, *tasks: Task) -> Any:
        """The model of this name, a `Bundle` or a `Classifier`, if it does one of these tasks."""
        bundles = self.engine.bundles
        if name not in bundles:
            raise RequestError(
                f"model {name!r} is not served; these are: {', '.join(bundles)}", "model", 404
            )
        task = bundles[name].task
        if task not in (tasks or (task,)):
            raise RequestError(f"model {name!r} is for {task}: ask {_ENDPOINTS[task]}", "model")
        return bundles[name]

    def texts(self, one_or_more: str | list, param: str, n: int = 1) -> list:
        """The texts, not too many of them."""
        texts = [one_or_more] if isinstance(one_or_more, str) else one_or_more
        most = self.limits.max_texts
        if not 1 <= len(texts) * n <= most:
            raise RequestError(f"{param}: from 1 to {most} texts, not {len(texts) * n}", param)
        return texts

    async def encode(self, tokenizer, texts: Sequence[str], param: str) -> list[tuple[int, ...]]:
        """The token ids of each text, not too many of them."""
        size = sum(map(len, texts))
        found = await aside(size, lambda: [tokenizer.encode(text) for text in texts])
        for ids in found:
            self.within(param, len(ids), self.limits.max_prompt_tokens, " tokens")
        return [tuple(ids) for ids in found]

    async def prompts(self, bundle, given: Sequence, param: str) -> list[tuple[int, ...]]:
        """The token ids of texts, or of lists of token ids, each with `<eos>` before it."""
        tokenizer = bundle.tokenizer
        if isinstance(given[0], str):
            given = await self.encode(tokenizer, given, param)
        size = tokenizer.vocabulary_size
        for ids in given:
            if ids and max(ids) >= size:
                raise RequestError(f"{param}: token ids below {size}, not {max(ids)}", param)
            self.within(param, len(ids), self.limits.max_prompt_tokens, " tokens")
        return [(tokenizer.eos_id, *ids) for ids in given]

    async def sources(self, bundle, texts: Sequence[str], param: str) -> list[tuple[int, ...]]:
        """The token ids of source sentences, each with `<eos>` after it."""
        tokenizer = bundle.source_tokenizer
        return [(*ids, tokenizer.eos_id) for ids in await self.encode(tokenizer, texts, param)]

    def within(self, param: str, value: int, most: int, unit: str = "") -> None:
        """Raises where there are more."""
        if value > most:
            raise RequestError(f"{param}: at most {most}{unit} here, not {value}", param)

    def check(self, bundle: Bundle, requests: Sequence[Request], streams: bool) -> None:
        """Raises where a text is not possible with this model, within the limits."""
        for request in requests:
            options = request.options
            self.within("max_tokens", options.max_tokens, self.limits.max_tokens)
            self.within("beam_size", options.beam_size, self.limits.max_beams)
            self.within("stop", len(options.stop), self.limits.max_stops, " strings")
            check_request(bundle, bundle.tokenizer, request)
        param = "attention" if requests[0].attention else "logprobs"
        details = sum(_details(request, streams) for request in requests)
        self.within(param, details, self.limits.max_details, " numbers")

    def seconds(self, timeout: float | None) -> float:
        """How long a request may take."""
        return min(timeout or math.inf, self.limits.request_seconds)

    def write(
        self, model: str, requests: Sequence[Request], timeout: float | None, streams: bool
    ) -> Call:
        """A call that writes texts."""
        self.check(self.engine.bundles[model], requests, streams)
        return self.engine.submit(Call(model, self.seconds(timeout), requests, streams=streams))

    async def read(self, model: str, work: Work, timeout: float | None = None) -> Any:
        """The result of a work that reads."""
        return await self.engine.submit(Call(model, self.seconds(timeout), work=work)).result()

    def card(self, name: str) -> ModelCard:
        """What is known of a model."""
        bundle = self.bundle(name)
        manifest = {key: value for key, value in bundle.manifest.items() if key != "files"}
        return ModelCard(
            name=name,
            architecture=manifest.get("architecture"),
            task=bundle.task,
            vocabulary_size=bundle.tokenizer.vocabulary_size,
            max_length=bundle.max_length,
            license=(manifest.get("data") or {}).get("licence"),
            scores=manifest.get("scores"),
            manifest=manifest,
        )


def _details(request, streams):
    """How many numbers are told at once, of a text that is as long as it may be."""
    options = request.options
    top = 0 if streams else options.n_best * request.top
    read = len(request.prompt_ids) + len(request.source_ids or ()) + options.max_tokens
    return options.max_tokens * (top + read * request.attention)


def usage(requests: Sequence[Request], written: int) -> Usage:
    """Counts of tokens; a prompt that is written on several times is read several times."""
    read = sum(len(r.prompt_ids) - 1 + len(r.source_ids or ()) for r in requests)
    return Usage(prompt_tokens=read, completion_tokens=written)


async def event_stream(events: AsyncIterator[list[dict]]) -> StreamingResponse:
    """Events as an answer; an error before the first one is raised, one midway is an event.

    Args:
        events: those that are there together are sent together.
    """
    first = await anext(events)

    async def frames():
        try:
            yield _frames(first)
            async for more in events:
                yield _frames(more)
        except (RequestError, InvalidOption) as error:
            yield b"event: error\n" + _frames([error_body(*described(error))])
        yield b"data: [DONE]\n\n"

    return StreamingResponse(
        frames(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _frames(events):
    return b"".join([b"data: %b\n\n" % _json(event) for event in events])
