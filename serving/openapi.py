"""The OpenAPI document of all endpoints, made from the messages."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from serving import messages
from zoo.bundle import Task

_ANSWERED = {
    400: "the request is not possible",
    401: "no API key, or none that is known",
    404: "no such model",
    408: "the body has taken too long",
    413: "the body is too long",
    415: "the body is not JSON",
    429: "too many requests wait",
    500: "the model has failed",
    503: "the server is shutting down",
    504: "the request has taken too long",
}
_POSTS: tuple[tuple[str, str, str, str | None], ...] = (
    ("/next_token", "The most probable next tokens.", "NextTokenRequest", "NextTokenResponse"),
    ("/generate", "Texts that go on from prompts.", "GenerateRequest", "TextResponse"),
    ("/translate", "Translations of sentences.", "TranslateRequest", "TranslateResponse"),
    ("/score", "How probable texts are.", "ScoreRequest", "ScoreResponse"),
    ("/embed", "What a model holds of texts.", "EmbedRequest", "EmbedResponse"),
    ("/classify", "The labels of texts.", "ClassifyRequest", "ClassifyResponse"),
    ("/tokenize", "The tokens of a text.", "TokenizeRequest", "TokenizeResponse"),
    ("/v1/completions", "As OpenAI's clients call it.", "CompletionRequest", None),
)
_GETS: tuple[tuple[str, str, str | None], ...] = (
    ("/models", "Every model.", None),
    ("/models/{name}", "One model.", "ModelCard"),
    ("/v1/models", "As OpenAI's clients call it.", None),
    ("/v1/models/{name}", "As OpenAI's clients call it.", None),
    ("/livez", "Whether the process runs.", None),
    ("/readyz", "Whether every model has answered once.", None),
)
_STREAMED = {"GenerateRequest", "TranslateRequest", "CompletionRequest"}
_TASKS: dict[str, Task] = {
    "TranslateRequest": "translation",
    "ClassifyRequest": "text-classification",
}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message", "param"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def document(models: Mapping[str, Task]) -> dict[str, Any]:
    """The document.

    Args:
        models: the names that are served and what each is for, for examples that work.
    """
    names = {name for _, _, *pair in _POSTS for name in pair if name} | {"ModelCard"}
    kinds = [(getattr(messages, name), _mode(name)) for name in sorted(names)]
    schemas = models_json_schema(kinds, ref_template="#/components/schemas/{model}")[1]["$defs"]
    for kind, mode in kinds:
        if mode == "validation":  # BentoML's own document would not take them from the messages
            task = _TASKS.get(kind.__name__, "text-generation")
            name = next((model for model in models if models[model] == task), "name")
            schemas[kind.__name__]["examples"] = [{"model": name, **kind.example}]
    paths: dict[str, Any] = {}
    for path, summary, request, response in _POSTS:
        content = {"application/json": {"schema": _ref(request)}}
        answer = {"application/json": {"schema": _ref(response) if response else {}}}
        if request in _STREAMED:
            answer["text/event-stream"] = {"schema": {"type": "string"}}
        responses = {"200": {"description": "the answer", "content": answer}, **_errors(_ANSWERED)}
        body = {"required": True, "content": content}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": responses}}
    for path, summary, response in _GETS:
        got: dict[str, Any] = {"description": "the answer"}
        if response:
            got["content"] = {"application/json": {"schema": _ref(response)}}
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {"200": got, **_errors([401, 404, 503])},
        }
        if "{name}" in path:
            operation["parameters"] = [_NAME]
        paths[path] = {"get": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sequence Zoo", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _mode(name):
    return "validation" if name.endswith("Request") else "serialization"


def _ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(statuses):
    content = {"application/json": {"schema": _ref("Error")}}
    return {str(s): {"description": _ANSWERED[s], "content": content} for s in statuses}
