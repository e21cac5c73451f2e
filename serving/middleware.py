"""Request id, API key, body limit, error shape and log line of every request, in one place."""

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders

from serving.errors import error_response, shaped
from serving.limits import Limits

_logger = logging.getLogger("bentoml.zoo")

ID_HEADER = "X-Request-ID"
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
# The page asks for the key; a probe has none.
_OPEN = {"/", "/livez", "/readyz", "/healthz", "/favicon.ico"}


class Gate:
    """ASGI middleware around all that is served.

    It lets no body through but JSON, since BentoML would read forms and more, reads it whole, and
    ends the work on a request whose client has left.

    Args:
        app: what is served.
        keys: one of which a client has to send as `Authorization: Bearer`; none: all may come.
        limits: of a body, and of the time that it takes.
    """

    def __init__(self, app, keys: Sequence[str], limits: Limits):
        self.app = app
        self._keys = [key.encode() for key in keys]
        self._limits = limits

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, begun = Headers(scope=scope), time.monotonic()
        given = headers.get(ID_HEADER, "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        answer = _Answer(scope, send, request_id)
        try:
            body = await self._body(scope, headers, receive)
            if isinstance(body, bytes):
                await _until_left(self.app, scope, body, receive, answer)
                if answer.status == 499:  # BentoML goes on waiting where nothing is sent
                    gone = error_response(499, "the client has left")
                    await gone(scope, receive, answer)
            else:
                await body(scope, receive, answer)
        finally:
            fields = {
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": answer.status,
                "seconds": round(time.monotonic() - begun, 4),
            }
            _logger.info(json.dumps(fields))

    async def _body(self, scope, headers, receive):
        """The whole body, or the answer that refuses it."""
        if not self._is_known(scope["path"], headers.get("authorization", "")):
            return error_response(401, "send one of the API keys as `Authorization: Bearer KEY`")
        kind = headers.get("content-type", "application/json")
        if scope["method"] == "POST" and kind.split(";")[0].strip().lower() != "application/json":
            return error_response(415, f"send application/json, not {kind}")
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > (most := self._limits.max_body_bytes):
                        return error_response(413, f"a body has at most {most} bytes")
        except TimeoutError:
            return error_response(408, "the body has taken longer than it may")
        return bytes(body)

    def _is_known(self, path, authorization):
        if not self._keys or path in _OPEN:
            return True
        scheme, _, key = authorization.partition(" ")
        sent = key.strip().encode("latin-1")  # as it was
        # Each is compared, and to its end: how long it takes tells nothing of the keys.
        fits = [hmac.compare_digest(sent, known) for known in self._keys]
        return scheme.lower() == "bearer" and any(fits)


async def _until_left(app, scope, body, receive, send):
    """Runs the app, and gives it up once the client has left."""
    left = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body():
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def watch():
        while (await receive())["type"] != "http.disconnect":
            pass

    work = asyncio.ensure_future(app(scope, receive_body, send))
    watcher = asyncio.ensure_future(watch())
    try:
        await asyncio.wait((work, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            left.set()
            work.cancel()
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
    finally:
        watcher.cancel()
        work.cancel()


class _Answer:
    """`send`, with the request id in the headers and errors in their shape."""

    def __init__(self, scope, send, request_id):
        self.status = 499  # the client has left before there was one
        self._scope, self._send, self._request_id = scope, send, request_id
        self._failed, self._body = None, b""

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(raw=message["headers"])[ID_HEADER] = self._request_id
            if self.status >= 400:
                self._failed = message
                return
        if self._failed is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body"):
            response = shaped(self.status, self._body)
            kept = MutableHeaders(raw=list(self._failed["headers"]))
            kept.update(response.headers)
            response.raw_headers = kept.raw
            await response(self._scope, None, self._send)
