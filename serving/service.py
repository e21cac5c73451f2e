"""The bundles of a directory over HTTP: next token, generation, translation.

ZOO_BUNDLES=bundles bentoml serve serving.service:ZooService
"""

import logging
import os
from pathlib import Path

import bentoml
import numpy as np

from serving.errors import ErrorShape, RequestError, answers_errors
from serving.messages import (
    MAX_TEXTS,
    GenerateRequest,
    NextToken,
    NextTokenRequest,
    NextTokenResponse,
    TextResponse,
    TextResult,
    TranslateRequest,
    Usage,
)
from zoo.bundle import Bundle, BundleError
from zoo.decoding import Request, generate, next_tokens

_logger = logging.getLogger("bentoml.zoo")


def open_bundles(directory: str | os.PathLike) -> dict[str, Bundle]:
    """The bundles in a directory, by the names of their folders; one that is broken is left out.

    Raises:
        ValueError: there is none.
    """
    bundles = {}
    for manifest in sorted(Path(directory).glob("[!.]*/manifest.json")):
        try:
            bundles[manifest.parent.name] = Bundle(manifest.parent)
        except BundleError as error:
            _logger.error("not served: %s", error)
    if not bundles:
        raise ValueError(f"no bundle in {directory}: export one with export/run.py")
    return bundles


@bentoml.service
class ZooService:
    """Every bundle in the directory that the environment variable ZOO_BUNDLES names."""

    def __init__(self) -> None:
        self.bundles = open_bundles(os.environ.get("ZOO_BUNDLES", "bundles"))

    @bentoml.api
    @answers_errors
    def next_token(self, request: NextTokenRequest, /) -> NextTokenResponse:
        """The k most probable next tokens of a text."""
        bundle = self._bundle(request.model, translates=False)
        asked = [Request.of(bundle.tokenizer, request.text)]
        ids, log_probs = next_tokens(bundle, asked, request.k)
        tokens = [
            NextToken(token_id=i, token=bundle.tokenizer.token(i), probability=p)
            for i, p in zip(ids[0].tolist(), np.exp(log_probs[0]).tolist())
        ]
        return NextTokenResponse(model=request.model, tokens=tokens)

    @bentoml.api
    @answers_errors
    def generate(self, request: GenerateRequest, /) -> TextResponse:
        """Texts that go on from prompts."""
        bundle = self._bundle(request.model, translates=False)
        options = request.options()
        return self._write(
            request.model,
            [
                Request.of(bundle.tokenizer, prompt, options=options)
                for prompt in _texts(request.prompt, "prompt")
            ],
        )

    @bentoml.api
    @answers_errors
    def translate(self, request: TranslateRequest, /) -> TextResponse:
        """Translations of sentences."""
        bundle = self._bundle(request.model, translates=True)
        options = request.options()
        return self._write(
            request.model,
            [
                Request.of(bundle.tokenizer, "", text, options, bundle.source_tokenizer)
                for text in _texts(request.text, "text")
            ],
        )

    def _write(self, model, requests):
        bundle = self.bundles[model]
        results = generate(bundle, bundle.tokenizer, requests)
        usage = Usage(
            prompt_tokens=sum(len(r.prompt_ids) - 1 + len(r.source_ids or ()) for r in requests),
            completion_tokens=sum(len(result.token_ids) for result in results),
        )
        texts = [TextResult.model_validate(result) for result in results]
        return TextResponse(model=model, results=texts, usage=usage)

    def _bundle(self, name, translates):
        if name not in self.bundles:
            names = ", ".join(self.bundles)
            raise RequestError(f"model {name!r} is not served; these are: {names}", "model", 404)
        bundle = self.bundles[name]
        if translates != (bundle.source_tokenizer is not None):
            use = "/generate" if translates else "/translate"
            raise RequestError(f"model {name!r} is for {use}", "model")
        return bundle


# The decorator has made it a Service, which no type says.
ZooService.add_asgi_middleware(ErrorShape)  # type: ignore[attr-defined]


def _texts(one_or_more, param):
    texts = [one_or_more] if isinstance(one_or_more, str) else one_or_more
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise RequestError(f"{param}: from 1 to {MAX_TEXTS} texts, not {len(texts)}", param)
    return texts
