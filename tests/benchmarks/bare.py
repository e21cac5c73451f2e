"""The least that answers /next_token, a route around a bundle, for `batching.py`."""

import os

import numpy as np
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo.bundle import Bundle

bundle = Bundle(os.environ["ZOO_BUNDLE"])


async def next_token(request):
    """The k most probable next tokens of a text."""
    asked = await request.json()
    prompt = [bundle.tokenizer.eos_id, *bundle.tokenizer.encode(asked["text"])]
    found, _ = bundle.step([prompt], bundle.start(1), want=asked["k"])
    (ids,), (log_probs,) = found
    tokens = map(bundle.tokenizer.token, ids)
    found = zip(ids.tolist(), tokens, np.exp(log_probs).tolist())
    return JSONResponse([dict(zip(("id", "token", "probability"), one)) for one in found])


async def ready(request):
    """Says that it is there."""
    return JSONResponse({})


app = Starlette(
    routes=[Route("/next_token", next_token, methods=["POST"]), Route("/readyz", ready)]
)
