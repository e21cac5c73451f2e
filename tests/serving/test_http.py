"""A real server, over HTTP."""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

_tests = Path(__file__).parents[1]
toy = runpy.run_path(str(_tests / "toy_bundle.py"))
write_bundle, write_classifier = toy["write_bundle"], toy["write_classifier"]
Server = runpy.run_path(str(_tests / "server_process.py"))["Server"]

pytestmark = pytest.mark.slow
ENDLESS = {"model": "letters", "suppress_ids": [1], "max_tokens": 100_000}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(folder / "letters", seed=1)
    write_bundle(folder / "translator", translates=True)
    write_classifier(folder / "opinions")
    return folder


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with Server(bundles, home, ZOO_MAX_TOKENS="100000", ZOO_REQUEST_SECONDS="10") as server:
        yield server
    assert server.returned == 0
    assert "Traceback" not in server.log()


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def events(answer):
    """The data of all events; the last is [DONE]."""
    frames = answer.text.split("\n\n")
    assert frames.pop() == ""
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def metric(client, name):
    """A number of /metrics, summed over its labels."""
    lines = client.get("/metrics").text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name
    )


@pytest.mark.parametrize(
    ("endpoint", "model", "text"),
    [("generate", "letters", "prompt"), ("translate", "translator", "text")],
)
def test_streams_are_what_comes_at_once(client, endpoint, model, text):
    body = {"model": model, text: ["a", "the cat"], "max_tokens": 12, "logprobs": 3}
    at_once = client.post(f"/{endpoint}", json=body).json()
    answer = client.post(f"/{endpoint}", json=body | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *tokens, counts = events(answer)
    assert counts["usage"] == at_once["usage"]
    for index, result in enumerate(at_once["results"]):
        own = [token for token in tokens if token["index"] == index]
        assert "".join(token["text"] for token in own) == result["text"]
        assert [token["token"] for token in own] == result["tokens"]
        assert [token["top"] for token in own] == result["top"]
        assert own[-1]["finish_reason"] == result["finish_reason"]


def test_n_texts_have_seeds_from_the_first_on(client):
    body = {"model": "letters", "prompt": "a", "temperature": 1.0, "max_tokens": 10}
    three = client.post("/generate", json=body | {"seed": 7, "n": 3}).json()["results"]
    for i, result in enumerate(three):
        (one,) = client.post("/generate", json=body | {"seed": 7 + i}).json()["results"]
        assert one["text"] == result["text"]
    refused = client.post("/generate", json={"model": "letters", "n": 3})
    assert refused.json()["error"]["param"] == "n"


def test_score_is_of_what_was_written(client):
    body = {"model": "letters", "prompt": "the ", "max_tokens": 400}
    (written,) = client.post("/generate", json=body).json()["results"]
    asked = {"model": "letters", "prompt": "the ", "text": written["text"]}
    (scored,) = client.post("/score", json=asked).json()["results"]
    if written["finish_reason"] == "end":
        assert scored["log_probs"] == pytest.approx(written["log_probs"], abs=1e-4)


def test_next_token_at_every_position(client):
    asked = {"model": "letters", "text": "abc", "k": 2, "positions": True}
    answer = client.post("/next_token", json=asked).json()
    assert len(answer["positions"]) == 4
    assert answer["positions"][-1] == answer["tokens"]
    before = client.post("/next_token", json={"model": "letters", "text": "ab", "k": 2}).json()
    for one, other in zip(answer["positions"][2], before["tokens"]):
        assert one["token_id"] == other["token_id"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    ids = client.post("/tokenize", json={"model": "letters", "text": "ab"}).json()["token_ids"]
    in_ids = client.post("/next_token", json={"model": "letters", "token_ids": ids, "k": 2})
    assert in_ids.json() == before


def test_models(client):
    names = [card["name"] for card in client.get("/models").json()["models"]]
    assert names == ["letters", "opinions", "translator"]
    assert client.get("/models/translator").json()["task"] == "translation"
    card = client.get("/models/opinions").json()
    assert card["task"] == "text-classification"
    assert card["license"] == "CC0-1.0"
    assert card["manifest"]["labels"] == ["bad", "good", "neither"]
    assert client.get("/models/nothing").json()["error"]["type"] == "not_found_error"
    assert client.get("/models/..%2Fletters").status_code == 404


def test_an_embedding(client):
    asked = {"model": "translator", "text": ["a cat", "a cat", "b"]}
    one, other, third = client.post("/embed", json=asked).json()["embeddings"]
    assert one == other != third


# === Who leaves, who waits, who comes too late ===


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_is_not_written_for(client, server, stream):
    before = metric(client, "zoo_requests_cancelled_total")
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream(
            "POST", f"{server.url}/generate", json=ENDLESS | {"stream": stream}, timeout=0.5
        ) as answer,
    ):
        next(answer.iter_bytes())
    until = time.monotonic() + 10
    while metric(client, "zoo_requests_cancelled_total") == before:
        assert time.monotonic() < until, "the text is still being written"


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_is_504_or_an_event(client, stream):
    answer = client.post("/generate", json=ENDLESS | {"timeout": 0.3, "stream": stream})
    if stream:
        *_, error, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        event, data = error.split("\n")
        assert event == "event: error"
        assert "longer" in json.loads(data.removeprefix("data: "))["error"]["message"]
    else:
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "server_error"


def test_a_full_queue_is_429_at_once(bundles, tmp_path):
    limits = {"ZOO_MAX_ROWS": "1", "ZOO_MAX_BEAMS": "1", "ZOO_MAX_QUEUE": "2", "ZOO_MAX_TEXTS": "2"}
    with (
        Server(bundles, tmp_path, ZOO_MAX_TOKENS="100000", **limits) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        with client.stream("POST", "/generate", json=ENDLESS | {"stream": True}) as running:
            lines = running.iter_lines()  # which closes the stream where nobody holds it
            next(lines)
            two = ENDLESS | {"prompt": ["a", "b"], "timeout": 2}
            waiting = threading.Thread(
                target=httpx.post,
                args=[f"{server.url}/generate"],
                kwargs={"json": two, "timeout": 30},
            )
            waiting.start()
            until = time.monotonic() + 10
            while metric(client, "zoo_requests_waiting") < 2:
                assert time.monotonic() < until
            begun = time.monotonic()
            refused = client.post("/generate", json={"model": "letters"})
            assert time.monotonic() - begun < 1
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["type"] == "rate_limit_error"
        waiting.join()


def test_sigterm_drains_and_exits_0(bundles, tmp_path):
    """What runs goes on to its end or to the limit, and is told so."""
    drain = {"ZOO_DRAIN_SECONDS": "2", "ZOO_MAX_TOKENS": "100000"}
    with Server(bundles, tmp_path, **drain) as server:
        with httpx.stream(
            "POST", f"{server.url}/generate", json=ENDLESS | {"stream": True}, timeout=30
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.terminate()
            *_, event, data, _, done, _ = lines
        assert event == "event: error"
        assert "shutting down" in data
        assert done == "data: [DONE]"
    assert server.returned == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ZOO_BUNDLES": "nothing"}, "no bundle in nothing: export one with export/run.py"),
        ({"ZOO_MAX_ROWS": "x"}, "ZOO_MAX_ROWS must be a number, not 'x'"),
    ],
)
def test_what_cannot_start_says_why_in_a_line(tmp_path, environment, message):
    home = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:ZooService"]
    environment = {**os.environ, **home, **environment}
    ran = subprocess.run(
        command, cwd=_tests.parent, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr == f"error: {message}\n"


# === At the gate ===


def test_api_keys(bundles, tmp_path):
    with Server(bundles, tmp_path, ZOO_API_KEYS="one,two") as server:
        for key, status in (("", 401), ("on", 401), ("one", 200), ("two", 200), ("one,two", 401)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = httpx.get(f"{server.url}/models", headers=headers)
            assert answer.status_code == status
        assert httpx.get(f"{server.url}/models").json()["error"]["type"] == "authentication_error"
        assert httpx.get(f"{server.url}/livez").status_code == 200


def test_a_body_that_is_too_long_is_413(client):
    body = json.dumps({"model": "letters", "prompt": "a" * (1 << 20)})
    answer = client.post("/generate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert set(answer.json()["error"]) == {"type", "message", "param"}


def test_the_request_id_is_echoed_and_logged(client, server):
    answer = client.get("/models", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    forged = client.get("/models", headers={"X-Request-ID": "a b"}).headers["x-request-id"]
    assert forged != "a b"
    assert forged
    assert '"request_id": "mine-1"' in server.log()


def test_metrics_have_the_usual_names(client):
    client.post("/generate", json={"model": "letters", "prompt": "a"})
    text = client.get("/metrics").text
    for name in ("time_to_first_token_seconds", "inter_token_latency_seconds", "batch_size"):
        assert f"zoo_{name}_bucket" in text


# === As others call it ===


def test_openais_client(server):
    openai = pytest.importorskip("openai", reason="needs the package openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["letters"]
    assert client.models.retrieve("letters").id == "letters"
    asked = {"model": "letters", "prompt": ["a", "the "], "max_tokens": 8, "seed": 1}
    at_once = client.completions.create(**asked, n=2, logprobs=2)
    assert [choice.index for choice in at_once.choices] == [0, 1, 2, 3]
    assert len(at_once.choices[0].logprobs.top_logprobs[0]) == 2
    assert (
        at_once.usage.total_tokens == at_once.usage.prompt_tokens + at_once.usage.completion_tokens
    )
    texts = [""] * 4
    options = {"include_usage": True}
    for chunk in client.completions.create(**asked, n=2, stream=True, stream_options=options):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usage = chunk.usage
    assert texts == [choice.text for choice in at_once.choices]
    assert usage.completion_tokens == at_once.usage.completion_tokens
    greedy = client.completions.create(model="letters", prompt=[5, 6], temperature=0, top_p=0.5)
    assert greedy.choices[0].finish_reason in {"stop", "length"}
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nothing", prompt="a")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="letters", prompt="a", temperature=-1)
    endless = {"model": "letters", "max_tokens": 100_000, "logit_bias": {"1": -1000}}
    with pytest.raises(openai.APIError, match="longer"):
        for _ in client.completions.create(prompt="a", stream=True, **endless):
            pass


def test_examples_of_the_document_work(client):
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        if body := operations.get("post", {}).get("requestBody"):
            name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            (example,) = document["components"]["schemas"][name]["examples"]
            assert client.post(path, json=example).status_code == 200


def test_the_document_holds(server):
    """What schemathesis makes up gets an answer that the document knows of, and never a 500."""
    schemathesis = pytest.importorskip("schemathesis", reason="needs the package schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    # Options exclude each other in more ways than a schema can tell.
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checked = settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    for operation in schema.get_all_operations():
        case_of = operation.ok().as_strategy()

        @checked
        @given(case=case_of)
        def holds(case):
            answer = case.call()
            assert answer.status_code < 500
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        holds()
