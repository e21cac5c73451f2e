"""What BentoML has no routes for: the GETs, OpenAI's API and the page."""

import time
import uuid
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from serving.asking import Asker, Naming, aside, event_stream, usage
from serving.errors import answers_errors
from serving.messages import CompletionRequest
from serving.openapi import document
from zoo.decoding import Request

_STATIC = Path(__file__).parent / "static"
_FINISH = {"end": "stop", "stop": "stop", "length": "length", "time": "length"}


def web_app() -> Starlette:
    """The app; it finds the `Asker` in its state."""
    return Starlette(
        routes=[
            Route("/", page),
            Route("/models", models),
            Route("/models/{name}", model),
            Route("/openapi.json", openapi),
            Route("/v1/models", openai_models),
            Route("/v1/models/{name}", openai_model),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )


async def page(request: HttpRequest):
    """The playground; it asks nobody outside."""
    policy = (
        "default-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return FileResponse(_STATIC / "index.html", headers=headers)


async def openapi(request: HttpRequest):
    """The document of all endpoints."""
    bundles = _asker(request).engine.bundles.items()
    models = {name: bundle.task for name, bundle in bundles}
    return JSONResponse(document(models))


@answers_errors
async def models(request: HttpRequest):
    """Every model."""
    asker = _asker(request)
    cards = [asker.card(name).model_dump() for name in asker.engine.bundles]
    return JSONResponse({"models": cards})


@answers_errors
async def model(request: HttpRequest):
    """One model."""
    return JSONResponse(_asker(request).card(request.path_params["name"]).model_dump())


# === As OpenAI's clients call it ===


@answers_errors
async def openai_models(request: HttpRequest):
    """Every language model."""
    bundles = _asker(request).engine.bundles
    names = [name for name, bundle in bundles.items() if bundle.task == "text-generation"]
    return JSONResponse({"object": "list", "data": [_openai_model(name) for name in names]})


@answers_errors
async def openai_model(request: HttpRequest):
    """One language model."""
    name = request.path_params["name"]
    _asker(request).bundle(name, "text-generation")
    return JSONResponse(_openai_model(name))


def _openai_model(name):
    return {"id": name, "object": "model", "created": 0, "owned_by": "sequence-zoo"}


@answers_errors
async def completions(http: HttpRequest):
    """Texts that go on from prompts."""
    asker = _asker(http)
    request = CompletionRequest.model_validate_json(await http.body())
    bundle = asker.bundle(request.model, "text-generation")
    options = request.options()
    given = asker.texts(request.prompts(), "prompt", len(options))
    prompts = await asker.prompts(bundle, given, "prompt")
    top = request.logprobs or 0
    requests = [Request(p, options=o, top=top) for p in prompts for o in options]
    call = asker.write(request.model, requests, None, bool(request.stream))
    head = {
        "id": f"cmpl-{uuid.uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": request.model,
    }
    naming = Naming(bundle.tokenizer)
    told = request.logprobs is not None
    if request.stream:
        with_usage = bool(request.stream_options and request.stream_options.include_usage)
        return await event_stream(_chunks(call, requests, head, naming, told, with_usage))
    results = await call.results()
    written = sum(len(result.token_ids) for result in results)
    choices = await aside(written * (1 + top), partial(_choices, results, naming, told))
    return JSONResponse({**head, "choices": choices, "usage": _usage(requests, written)})


async def _chunks(call, requests, head, naming, told, with_usage):
    written = 0
    async for pieces in call.pieces():
        written += len(pieces)
        yield [{**head, "choices": [_written(*each, naming, told)]} for each in pieces]
    if with_usage:
        yield [{**head, "choices": [], "usage": _usage(requests, written)}]


def _written(index, piece, naming, told):
    tops = [piece.top] if piece.top else []
    logprobs = _logprobs(naming, [piece.token_id], [piece.log_prob], tops) if told else None
    return _choice(index, piece.text, piece.finish_reason, logprobs)


def _choices(results, naming, told):
    choices = []
    for index, result in enumerate(results):
        found = result.token_ids, result.log_probs, result.top
        logprobs = _logprobs(naming, *found) if told else None
        choices.append(_choice(index, result.text, result.finish_reason, logprobs))
    return choices


def _choice(index, text, reason, logprobs):
    finish_reason = reason and _FINISH[reason]
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(naming, token_ids, log_probs, tops):
    return {
        "tokens": [naming.name(token_id) for token_id in token_ids],
        "token_logprobs": list(log_probs),
        "top_logprobs": [{naming.name(i): log_prob for i, log_prob in top} for top in tops] or None,
        "text_offset": None,
    }


def _usage(requests, written):
    counts = usage(requests, written).model_dump()
    return {**counts, "total_tokens": sum(counts.values())}


def _asker(request) -> Asker:
    return request.app.state.asker
