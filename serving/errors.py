"""The one shape of every error: `{"error": {"type", "message", "param"}}`."""

import functools
import json

from pydantic import ValidationError
from starlette.responses import JSONResponse

from zoo.decoding import InvalidOption

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_LATER = {"Retry-After": "1"}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: _LATER, 503: _LATER}
_LONGEST = 500  # characters of a message


class RequestError(Exception):
    """What is asked for is not possible, or not done.

    Args:
        message: why, and what is.
        param: the field of the request.
        status: of the answer.
    """

    status = 400
    message = ""

    def __init__(self, message: str = "", param: str | None = None, status: int | None = None):
        super().__init__(message or self.message)
        self.param = param
        self.status = status or self.status


class QueueFull(RequestError):
    """As many texts wait as may."""

    status, message = 429, "too many requests wait: try again later"


class Stopping(RequestError):
    """The server goes down."""

    status, message = 503, "the server is shutting down: try again"


class DeadlineExceeded(RequestError):
    """The request has taken longer than it may."""

    status, message = 504, "the request has taken longer than it may"


class EngineFailed(RequestError):
    """The model has failed, and with it all that it was at."""

    status, message = 500, "the model has failed and begins anew: try again"


def error_body(status: int, message: str, param: str | None = None) -> dict:
    """An error in its shape."""
    if len(message) > _LONGEST:  # what a client has sent is told in part
        message = f"{message[:_LONGEST]}..."
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {"error": {"type": kind, "message": message, "param": param}}


def error_response(status: int, message: str, param: str | None = None) -> JSONResponse:
    """The answer to a request that has failed."""
    return JSONResponse(error_body(status, message, param), status, _HEADERS.get(status))


def described(error: Exception) -> tuple[int, str, str | None]:
    """Status, message and field of an error that a client may know of; raises any other."""
    match error:
        case InvalidOption():
            return 400, str(error), error.name
        case RequestError():
            return error.status, str(error), error.param
        case ValidationError():
            return 400, *_first(error.errors(include_context=False, include_input=False))
    raise error


def answers_errors(endpoint):
    """Makes an endpoint answer with what is wrong in place of raising it."""

    @functools.wraps(endpoint)
    async def answer(*args):
        try:
            return await endpoint(*args)
        except (InvalidOption, RequestError, ValidationError) as error:
            return error_response(*described(error))

    return answer


def shaped(status: int, body: bytes) -> JSONResponse:
    """An answer of BentoML or starlette that is an error, in the shape."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return error_response(status, text)
    if isinstance(content, list):  # a BentoMLException
        content = content[0]
    if isinstance(content.get("error"), dict):
        return JSONResponse(content, status)
    if detail := content.get("detail"):  # of pydantic
        return error_response(status, *_first(detail))
    return error_response(status, str(content.get("error", content)))


def _first(errors):
    """Message and field of the first thing that does not fit."""
    param = next((str(part) for part in errors[0]["loc"] if isinstance(part, str)), None)
    message = errors[0]["msg"]
    return (f"{param}: {message}" if param else message), param
