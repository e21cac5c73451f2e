"""The one shape of every error: `{"error": {"type", "message", "param"}}`."""

import functools
import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from zoo.decoding import InvalidOption

_TYPES = {404: "not_found_error"}


class RequestError(ValueError):
    """What is asked for is not possible.

    Args:
        message: why, and what is.
        param: the field of the request.
        status: of the answer.
    """

    def __init__(self, message: str, param: str | None = None, status: int = 400):
        super().__init__(message)
        self.param = param
        self.status = status


def error_response(status: int, message: str, param: str | None = None) -> JSONResponse:
    """An error in its shape."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    error = {"type": kind, "message": message, "param": param}
    return JSONResponse({"error": error}, status_code=status)


def answers_errors(endpoint):
    """Makes an endpoint answer with what is wrong in place of raising it."""

    @functools.wraps(endpoint)
    def answer(self, request, /):
        try:
            return endpoint(self, request)
        except InvalidOption as error:
            return error_response(400, str(error), error.name)
        except RequestError as error:
            return error_response(error.status, str(error), error.param)

    return answer


class ErrorShape:
    """ASGI middleware that brings the errors of BentoML and starlette into the shape.

    It lets nothing through but JSON: BentoML would read forms, too.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        content_type = Headers(scope=scope).get("content-type", "application/json")
        if scope["method"] == "POST" and content_type.split(";")[0].strip() != "application/json":
            refusal = error_response(415, f"send application/json, not {content_type}")
            await refusal(scope, receive, send)
            return
        failed, body = None, b""

        async def send_shaped(message):
            nonlocal failed, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                failed = message
            elif failed is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    response = _shaped(failed["status"], body)
                    kept = MutableHeaders(raw=list(failed["headers"]))
                    kept.update(response.headers)
                    response.raw_headers = kept.raw
                    await response(scope, receive, send)

        await self.app(scope, receive, send_shaped)


def _shaped(status, body):
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return error_response(status, text)
    if isinstance(content, list):  # a BentoMLException
        content = content[0]
    if isinstance(content.get("error"), dict):
        return JSONResponse(content, status)
    if detail := content.get("detail"):  # pydantic's list of what does not fit
        param, message = next(iter(detail[0]["loc"]), None), detail[0]["msg"]
        return error_response(status, f"{param}: {message}" if param else message, param)
    return error_response(status, str(content.get("error", content)))
