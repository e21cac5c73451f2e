"""The bundles of a directory over HTTP: next token, generation, translation and more.

ZOO_BUNDLES=bundles bentoml serve serving.service:ZooService
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from functools import partial
from operator import itemgetter
from pathlib import Path

import bentoml
import pydantic

from serving.asking import Asker, Naming, aside, event_stream, usage
from serving.call import Call
from serving.engine import Engine
from serving.errors import RequestError, answers_errors
from serving.limits import Limits
from serving.messages import (
    ClassifyRequest,
    ClassifyResponse,
    EmbedRequest,
    EmbedResponse,
    GenerateRequest,
    Label,
    NextTokenRequest,
    NextTokenResponse,
    ScoreRequest,
    ScoreResponse,
    TextResponse,
    TextResult,
    TokenizeRequest,
    TokenizeResponse,
    TranslateRequest,
    TranslateResponse,
)
from serving.metrics import Metrics
from serving.middleware import Gate
from serving.web import web_app
from zoo.bundle import Bundle, BundleError, Classifier, Task, open_bundle
from zoo.decoding import Request, embed_in_parts, next_in_parts, room, score_in_parts

_CLIENTS = (pydantic.ValidationError, bentoml.exceptions.BadInput)  # errors of clients
_logger = logging.getLogger("bentoml.zoo")
_WRITING: tuple[Task, ...] = ("text-generation", "translation")
# BentoML logs a traceback of every request that does not fit.
logging.getLogger("bentoml._internal.server.http_app").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], _CLIENTS))
)
# The spans of BentoML take longer than the writing of a token; OTEL_SDK_DISABLED=false has them.
os.environ.setdefault("OTEL_SDK_DISABLED", "true")
_web = web_app()
_image = (  # of a bento; its versions are those of constraints.txt, to which bentofile.yaml points
    bentoml.images.Image(lock_python_packages=False)
    .build_include("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "serving", "zoo")
    .python_packages("--editable .[serving]")
)


def _manifests(directory):
    """Those of what may be bundles.

    Raises:
        ValueError: there is none.
    """
    if found := sorted(Path(directory).glob("[!.]*/manifest.json")):
        return found
    raise ValueError(f"no bundle in {directory}: export one with export/run.py")


try:
    LIMITS = Limits.load()
    if given := os.environ.get("ZOO_BUNDLES"):
        _manifests(given)
except ValueError as error:  # here once; a worker that cannot start is started again for ever
    sys.exit(f"error: {error}")


def open_bundles(directory: str | os.PathLike) -> dict[str, Bundle | Classifier]:
    """The bundles in a directory that can be served, by the names of their folders.

    Raises:
        ValueError: there is none.
    """
    bundles: dict[str, Bundle | Classifier] = {}
    for manifest in _manifests(directory):
        try:
            bundle = open_bundle(manifest.parent)
            if not bundle.tokenizer:
                raise BundleError(f"{manifest.parent} has no tokenizer")
            bundles[manifest.parent.name] = bundle
        except Exception as error:  # whatever a damaged file makes its reader raise
            _logger.error("%s is not served: %s", manifest.parent.name, error)
    if not bundles:
        raise ValueError(f"none of the bundles in {directory} can be served")
    return bundles


# The engine has deadlines of its own, and the gate a log line of every request.
@bentoml.service(
    image=_image,
    http={"host": "0.0.0.0" if "BENTOML_CONTAINERIZED" in os.environ else "127.0.0.1"},
    traffic={"timeout": LIMITS.request_seconds + LIMITS.drain_seconds},
    logging={"access": {"enabled": False}},
)
class ZooService:
    """Every bundle in the directory that the environment variable ZOO_BUNDLES names."""

    def __init__(self) -> None:
        beside = Path(__file__).parents[1] / "bundles"  # as in a bento
        bundles = open_bundles(os.environ.get("ZOO_BUNDLES") or beside)
        self.engine = Engine(bundles, LIMITS, Metrics())
        self.asker = _web.state.asker = Asker(self.engine)

    @bentoml.on_startup
    async def start(self) -> None:
        """Starts the engine, which has the models answer once."""
        self.engine.start()
        _before(signal.SIGTERM, self.engine.drain)
        sys.setswitchinterval(0.0005)  # the event loop does not wait long for the engine
        # What is there now stays: looking through it took most of the slowest answers' time.
        gc.collect()
        gc.freeze()

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Waits for what the engine is at."""
        await asyncio.to_thread(self.engine.stop)

    def __is_ready__(self) -> bool:
        return self.engine.is_ready

    @bentoml.api
    @answers_errors
    async def next_token(self, request: NextTokenRequest, /) -> NextTokenResponse:
        """The k most probable next tokens of a text."""
        asker, bundle = self.asker, self.asker.bundle(request.model, "text-generation")
        given = _given([request.text], request.token_ids, "text")
        (prompt,) = await asker.prompts(bundle, *given)
        asked, everywhere = Request(prompt), request.positions
        told = min(request.k, bundle.tokenizer.vocabulary_size) * (len(prompt) if everywhere else 1)
        asker.within("k", told, LIMITS.max_details, " numbers")

        def work(model, size):
            return next_in_parts(model, asked, request.k, size, everywhere)

        found = await asker.read(request.model, work, request.timeout)
        naming = Naming(bundle.tokenizer)
        tops = await aside(told, lambda: [naming.top(top) for top in found])
        positions = tops if everywhere else None
        return NextTokenResponse(model=request.model, tokens=tops[-1], positions=positions)

    @bentoml.api
    @answers_errors
    async def generate(self, request: GenerateRequest, /) -> TextResponse:
        """Texts that go on from prompts."""
        asker, bundle = self.asker, self.asker.bundle(request.model, "text-generation")
        texts = asker.texts(request.prompt, "prompt", request.n)
        prompts = await asker.prompts(bundle, *_given(texts, request.token_ids, "prompt"))
        options = request.options(room(bundle, max(map(len, prompts))))
        requests = [
            Request(prompt, None, option, request.attention, request.logprobs)
            for prompt in prompts
            for option in options
        ]
        return await self._write(request, requests, TextResponse)

    @bentoml.api
    @answers_errors
    async def translate(self, request: TranslateRequest, /) -> TranslateResponse:
        """Translations of sentences."""
        asker, bundle = self.asker, self.asker.bundle(request.model, "translation")
        texts = asker.texts(request.text, "text", request.n)
        sources = await asker.sources(bundle, texts, "text")
        options = request.options(room(bundle, 1))
        start = (bundle.tokenizer.eos_id,)
        requests = [
            Request(start, source, option, request.attention, request.logprobs)
            for source in sources
            for option in options
        ]
        name = Naming(bundle.source_tokenizer).name
        names = [[name(token_id) for token_id in source] for source in sources]
        return await self._write(request, requests, partial(TranslateResponse, source_tokens=names))

    @bentoml.api
    @answers_errors
    async def score(self, request: ScoreRequest, /) -> ScoreResponse:
        """How probable texts are."""
        asker, bundle = self.asker, self.asker.bundle(request.model, *_WRITING)
        if (request.source is None) != (bundle.source_tokenizer is None):
            raise RequestError("source: a translation model needs one, no other has one", "source")
        tokenizer = bundle.tokenizer
        found = await asker.encode(tokenizer, asker.texts(request.text, "text"), "text")
        texts = [(*ids, tokenizer.eos_id) for ids in found]
        (prompt,) = await asker.prompts(bundle, [request.prompt], "prompt")
        source = None
        if request.source is not None:
            (source,) = await asker.sources(bundle, [request.source], "source")
        asked = Request(prompt, source)

        def work(model, size):
            results = []
            for ids in texts:
                results += yield from score_in_parts(model, tokenizer, [asked], [ids], size)
            return results

        scored = await asker.read(request.model, work, request.timeout)
        results = await aside(sum(map(len, texts)), partial(_results, scored, Naming(tokenizer)))
        return ScoreResponse(model=request.model, results=results)

    @bentoml.api
    @answers_errors
    async def embed(self, request: EmbedRequest, /) -> EmbedResponse:
        """What a model holds of texts, a vector each."""
        asker, bundle = self.asker, self.asker.bundle(request.model, *_WRITING)
        texts = asker.texts(request.text, "text")
        if bundle.source_tokenizer is None:
            requests = [Request(prompt) for prompt in await asker.prompts(bundle, texts, "text")]
        else:
            start, sources = (bundle.tokenizer.eos_id,), asker.sources(bundle, texts, "text")
            requests = [Request(start, source) for source in await sources]

        def work(model, size):
            vectors = []
            for asked in requests:
                vector = yield from embed_in_parts(model, asked, size)
                vectors.append(vector.tolist())
            return vectors

        vectors = await asker.read(request.model, work, request.timeout)
        return EmbedResponse(model=request.model, embeddings=vectors)

    @bentoml.api
    @answers_errors
    async def classify(self, request: ClassifyRequest, /) -> ClassifyResponse:
        """The labels of texts, each with its probability."""
        asker, bundle = self.asker, self.asker.bundle(request.model, "text-classification")
        texts = await asker.encode(bundle.tokenizer, asker.texts(request.text, "text"), "text")
        for ids in texts:
            if not ids:
                raise RequestError("text: one token at least, to be classified", "text")
            asker.within("text", len(ids), bundle.max_length or len(ids), " tokens")

        def work(model, size):
            return model.classify_in_parts(texts, size)

        found = await asker.read(request.model, work, request.timeout)
        results = []
        for probabilities in found.tolist():
            pairs = sorted(zip(probabilities, bundle.labels), key=itemgetter(0), reverse=True)
            results.append([Label(label=label, probability=p) for p, label in pairs[: request.k]])
        return ClassifyResponse(model=request.model, results=results)

    @bentoml.api
    @answers_errors
    async def tokenize(self, request: TokenizeRequest, /) -> TokenizeResponse:
        """The tokens of a text."""
        bundle = self.asker.bundle(request.model)
        tokenizer = bundle.tokenizer if request.side == "text" else bundle.source_tokenizer
        if tokenizer is None:
            raise RequestError(f"side: model {request.model!r} has no source", "side")
        (ids,) = await self.asker.encode(tokenizer, [request.text], "text")
        tokens = list(map(Naming(tokenizer).name, ids))
        return TokenizeResponse(
            model=request.model, token_ids=list(ids), tokens=tokens, text=tokenizer.decode(ids)
        )

    async def _write(self, request, requests, response):
        call = self.asker.write(request.model, requests, request.timeout, request.stream)
        naming = Naming(self.asker.bundle(request.model).tokenizer)
        if request.stream:
            return await event_stream(_events(call, requests, naming))
        results = await call.results()
        written = sum(len(result.token_ids) for result in results)
        size = written * (1 + request.logprobs)
        texts = await aside(size, partial(_results, results, naming))
        return response(model=request.model, results=texts, usage=usage(requests, written))


# The decorator has made it a Service, which no type says.
ZooService.add_asgi_middleware(  # type: ignore[attr-defined]
    Gate,
    keys=[key for key in map(str.strip, os.environ.get("ZOO_API_KEYS", "").split(",")) if key],
    limits=LIMITS,
)
ZooService.mount_asgi_app(_web)  # type: ignore[attr-defined]


def _results(results, naming):
    return [TextResult.of(result, naming) for result in results]


async def _events(call: Call, requests, naming):
    """Each token as it comes, each text at its end, and at last the counts."""
    written = 0
    async for pieces in call.pieces():
        written += len(pieces)
        ended = [piece.result for _, piece in pieces if piece.result]
        size = sum(len(result.token_ids) * (1 + requests[0].top) for result in ended)
        yield await aside(size, partial(_told, pieces, naming))
    yield [{"usage": usage(requests, written)}]


def _told(pieces, naming):
    return [_event(index, piece, naming) for index, piece in pieces]


def _event(index, piece, naming):
    event = {
        "index": index,
        "text": piece.text,
        "token_id": piece.token_id,
        "token": naming.name(piece.token_id),
        "log_prob": piece.log_prob,
        "finish_reason": piece.finish_reason,
    }
    if piece.top:
        event["top"] = naming.top(piece.top)
    if piece.result:
        event["result"] = TextResult.of(piece.result, naming).model_dump(exclude_none=True)
    return event


def _given(texts, token_ids, param):
    """Texts, or one in tokens in their place; and the name of what is given."""
    if token_ids is None:
        return texts, param
    if texts != [""]:
        raise RequestError(f"{param}: leave it out where there are token_ids", param)
    return [token_ids], "token_ids"


def _before(number, act):
    """Acts on a signal before whoever is there to handle it, where this is the main thread."""
    try:
        handler = signal.getsignal(number)

        def handle(*arguments):
            act()
            if callable(handler):
                handler(*arguments)

        signal.signal(number, handle)
    except ValueError:
        _logger.debug("not in the main thread: no signal is handled")
