"""The gate alone, before an app that says what it was given."""

import asyncio
import json

import pytest

from serving.limits import Limits
from serving.middleware import Gate


async def echo(scope, receive, send):
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(gate, messages, path="/generate", headers=()):
    """Status, headers and body of the answer to a POST whose body comes in these messages."""
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    messages, sent = list(messages), []

    async def receive():
        if messages:
            return {"type": "http.request", **messages.pop(0)}
        return await asyncio.Event().wait()  # a client that says no more

    async def send(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(gate(scope, receive, send), 10))
    start, *rest = sent
    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(message.get("body", b"") for message in rest)


def refused(answer):
    status, headers, body = answer
    assert set(json.loads(body)["error"]) == {"type", "message", "param"}
    assert headers["x-request-id"]
    return status


def test_a_body_in_parts_is_one():
    gate = Gate(echo, [], Limits())
    parts = [{"body": b"{", "more_body": True}, {"body": b"}"}]
    assert ask(gate, parts)[::2] == (200, b"{}")


def test_a_body_that_does_not_come_is_408():
    gate = Gate(echo, [], Limits(request_seconds=0.05))
    assert refused(ask(gate, [{"body": b"{", "more_body": True}])) == 408


def test_a_body_without_an_end_is_413():
    """Refused as soon as it is too long, however it says how long it is."""
    gate = Gate(echo, [], Limits(max_body_bytes=10))
    assert refused(ask(gate, [{"body": b"a" * 6, "more_body": True}] * 2)) == 413


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("Bearer one", 200),
        ("bearer  one ", 200),
        ("Bearer \u5b57", 200),
        ("Bearer onetwo", 401),
        ("Basic one", 401),
        ("Bearer", 401),
        ("one", 401),
        ("", 401),
    ],
)
def test_a_key(sent, status):
    gate = Gate(echo, ["one", "\u5b57"], Limits())
    answer = ask(gate, [{"body": b"{}"}], headers=[(b"authorization", sent.encode())])
    assert answer[0] == status
    if status == 401:
        refused(answer)
        assert answer[1]["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("given", ["a b", "a\tb", "\u00ff", "a" * 129, ""])
def test_a_request_id_that_is_none_is_not_echoed(given):
    gate = Gate(echo, [], Limits())
    answer = ask(gate, [{"body": b"{}"}], headers=[(b"x-request-id", given.encode())])
    assert answer[1]["x-request-id"] not in ("", given)
