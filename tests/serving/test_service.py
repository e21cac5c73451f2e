"""The service in this process, over bundles written by hand."""

import hashlib
import json
import math
import os
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.service import ZooService, open_bundles
from zoo.bundle import Bundle, Classifier
from zoo.decoding import Options, Request, generate

toy = runpy.run_path(str(Path(__file__).parents[1] / "toy_bundle.py"))
write_bundle, write_classifier = toy["write_bundle"], toy["write_classifier"]


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundles")
    write_bundle(directory / "letters", seed=1)
    write_bundle(directory / "translator", translates=True)
    write_classifier(directory / "opinions")
    write_bundle(directory / ".letters.part-1")
    broken = write_bundle(directory / "broken")
    (broken / "tokenizer.json").write_text("{}")
    change(write_bundle(directory / "foreign"), lambda m: m["files"].pop("tokenizer.json"))
    change(write_bundle(directory / "newer"), lambda m: m.update(format_version=99))
    no_graph = write_bundle(directory / "no_graph") / "decode.onnx"
    no_graph.write_bytes(b"nothing")
    sha256 = hashlib.sha256(b"nothing").hexdigest()
    change(no_graph.parent, lambda m: m["files"].update({"decode.onnx": sha256}))
    return directory


def change(bundle, change):
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def client(directory, tmp_path_factory):
    """One app a process: BentoML's metrics are registered once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_BUNDLES", str(directory))
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path_factory.mktemp("metrics")))
        with TestClient(ZooService.to_asgi(), raise_server_exceptions=False) as client:
            yield client


@pytest.fixture
def post(client):
    def post(endpoint, **body):
        return client.post(f"/{endpoint}", json=body)

    return post


def test_next_token(post, directory):
    answer = post("next_token", model="letters", text="abc", k=3)
    assert answer.status_code == 200
    bundle = Bundle(directory / "letters")
    logits, _ = bundle.step([[1, *bundle.tokenizer.encode("abc")]], bundle.start(1))
    logits[..., 0] = -np.inf
    probabilities = np.exp(logits[0, -1]) / np.exp(logits[0, -1]).sum()
    tokens = answer.json()["tokens"]
    assert [token["token_id"] for token in tokens] == np.argsort(-probabilities)[:3].tolist()
    for token in tokens:
        assert math.isclose(token["probability"], probabilities[token["token_id"]], rel_tol=1e-5)
        assert token["token"] == bundle.tokenizer.token(token["token_id"])


def test_all_next_tokens_have_probability_one(post, directory):
    size = Bundle(directory / "letters").tokenizer.vocabulary_size
    tokens = post("next_token", model="letters", k=10_000).json()["tokens"]
    assert len(tokens) == size - 1
    assert math.isclose(sum(token["probability"] for token in tokens), 1, rel_tol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 7},
        {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 3, "stop": ["a", "bc"]},
        {"beam_size": 3, "n_best": 2, "length_penalty": 0.6, "logit_bias": [[5, 1.0]]},
    ],
)
def test_generate_is_the_decoder_over_the_bundle(post, directory, options):
    prompts = ["", "the ", "x"]
    answer = post("generate", model="letters", prompt=prompts, **options)
    assert answer.status_code == 200
    bundle = Bundle(directory / "letters")
    requests = [
        Request.of(bundle.tokenizer, prompt, options=Options(**options)) for prompt in prompts
    ]
    expected = generate(bundle, bundle.tokenizer, requests)
    for got, result in zip(answer.json()["results"], expected, strict=True):
        assert got["text"] == result.text
        assert tuple(got["token_ids"]) == result.token_ids
        assert np.allclose(got["log_probs"], result.log_probs)
        assert got["finish_reason"] == result.finish_reason
        assert math.isclose(got["score"], result.score)
        others = [other["text"] for other in got["alternatives"]]
        assert others == [other.text for other in result.alternatives]
    written = sum(len(result.token_ids) for result in expected)
    assert answer.json()["usage"] == {"prompt_tokens": 5, "completion_tokens": written}


def test_translate(post, directory):
    bundle = Bundle(directory / "translator")
    request = Request.of(bundle.tokenizer, "", "a cat", Options(max_tokens=9))
    (expected,) = generate(bundle, bundle.tokenizer, [request])
    answer = post("translate", model="translator", text="a cat", max_tokens=9).json()
    assert answer["results"][0]["text"] == expected.text
    assert answer["usage"]["prompt_tokens"] == len("a cat") + 1


def test_what_a_translation_looked_at(post, monkeypatch):
    """Where the model can tell: of each token written, a weight for each of the source."""

    def uniform(self, token_ids, state):
        return {"layer_0/cross": np.full((*token_ids.shape[:1], 2, token_ids.shape[1], 9), 1 / 9)}

    monkeypatch.setattr(Bundle, "attention", uniform)
    asked = {"model": "translator", "text": "a cat", "max_tokens": 4, "attention": True}
    answer = post("translate", **asked).json()
    (result,), (source,) = answer["results"], answer["source_tokens"]
    assert np.shape(result["attention"]["layer_0/cross"]) == (2, len(result["tokens"]), len(source))


def test_classify(post, directory):
    """Texts of other lengths beside it change nothing."""
    bundle = Classifier(directory / "opinions")
    texts = ["a film", "b", "so so", "c", "an even longer text"]
    answer = post("classify", model="opinions", text=texts)
    assert answer.status_code == 200
    for text, labels in zip(texts, answer.json()["results"], strict=True):
        (alone,) = bundle.classify([bundle.tokenizer.encode(text)])
        expected = sorted(zip(alone.tolist(), bundle.labels), reverse=True)
        assert [label["label"] for label in labels] == [label for _, label in expected]
        assert np.allclose([label["probability"] for label in labels], [p for p, _ in expected])
        (best,) = post("classify", model="opinions", text=text, k=1).json()["results"]
        assert best[0]["label"] == expected[0][1]
        assert len(best) == 1


# === Errors ===


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "param"),
    [
        ("generate", {"model": "nothing", "prompt": "a"}, 404, "model"),
        ("generate", {"model": "../letters"}, 404, "model"),
        ("generate", {"model": "broken"}, 404, "model"),
        ("generate", {"model": ".letters.part-1"}, 404, "model"),
        ("generate", {"model": "translator"}, 400, "model"),
        ("next_token", {"model": "translator"}, 400, "model"),
        ("translate", {"model": "letters", "text": "a"}, 400, "model"),
        ("translate", {"model": "translator"}, 400, "text"),
        ("generate", {"prompt": "a"}, 400, "model"),
        ("translate", {"text": "I love you."}, 404, "model"),  # vaswani_fra_eng is not here
        ("generate", {"model": "letters", "promt": "a"}, 400, "promt"),
        ("generate", {"model": "letters", "prompt": 3}, 400, "prompt"),
        ("generate", {"model": "letters", "prompt": []}, 400, "prompt"),
        ("generate", {"model": "letters", "prompt": ["a"] * 65}, 400, "prompt"),
        ("generate", {"model": "letters", "max_tokens": "9"}, 400, "max_tokens"),
        ("generate", {"model": "letters", "max_tokens": 0}, 400, "max_tokens"),
        ("generate", {"model": "letters", "max_tokens": 10**9}, 400, "max_tokens"),
        ("generate", {"model": "letters", "temperature": 1, "top_p": 1.3}, 400, "top_p"),
        ("generate", {"model": "letters", "top_k": 3}, 400, "top_k"),
        ("generate", {"model": "letters", "beam_size": 10**9}, 400, "beam_size"),
        ("generate", {"model": "letters", "prefix": "a" * 101}, 400, "prefix"),
        ("generate", {"model": "letters", "suppress_ids": [10**30]}, 400, "suppress_ids"),
        ("generate", {"model": "letters", "seed": -1}, 400, "seed"),
        ("next_token", {"model": "letters", "k": 0}, 400, "k"),
        ("next_token", {"model": "letters", "text": "a" * 9000}, 400, "text"),
        ("generate", {"model": "letters", "max_tokens": 4000, "logprobs": 99}, 400, "logprobs"),
        ("generate", {"model": "letters", "max_tokens": 999, "attention": True}, 400, "attention"),
        ("generate", {"model": "letters", "stop": ["a"] * 33}, 400, "stop"),
        ("generate", {"model": "a" * 9999}, 404, "model"),
        (
            "v1/completions",
            {"model": "letters", "stream_options": {"a": True}},
            400,
            "stream_options",
        ),
        ("classify", {"model": "letters", "text": "a"}, 400, "model"),
        ("classify", {"model": "opinions", "text": ["a", ""]}, 400, "text"),
        ("classify", {"model": "opinions", "text": "a" * 51}, 400, "text"),
        ("classify", {"model": "opinions", "text": "a", "k": 0}, 400, "k"),
        ("generate", {"model": "opinions"}, 400, "model"),
        ("score", {"model": "opinions", "text": "a"}, 400, "model"),
        ("embed", {"model": "opinions", "text": "a"}, 400, "model"),
        ("tokenize", {"model": "opinions", "text": "a", "side": "source"}, 400, "side"),
    ],
)
def test_a_bad_request_names_its_field(post, endpoint, body, status, param):
    answer = post(endpoint, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "param"}
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert error["param"] == param
    assert "Traceback" not in error["message"]
    assert len(error["message"]) < 600  # whatever was sent


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 10_000,
        b'{"model": NaN}',
        b'{"model": "letters", "timeout": Infinity}',
        b'{"model": "letters", "timeout": 1e999}',
        b'{"model": "letters", "prompt": "\xff"}',
        b'{"model": "letters", "prompt": "\\ud800"}',
    ],
)
def test_what_is_no_request_has_the_same_shape(client, content):
    answer = client.post("/generate", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"type", "message", "param"}


@pytest.mark.parametrize(
    "kind",
    ["application/vnd.bentoml+pickle", "multipart/form-data", "application/x-www-form-urlencoded"],
)
def test_other_kinds_of_content_are_refused(client, kind):
    answer = client.post("/generate", content=b"\x80\x04.", headers={"content-type": kind})
    assert answer.status_code == 415
    assert set(answer.json()["error"]) == {"type", "message", "param"}


def test_routes_and_methods_that_are_not_there(client):
    for answer, status in ((client.post("/nothing"), 404), (client.get("/generate"), 405)):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"type", "message", "param"}


def test_a_failure_inside_is_500_and_says_nothing_of_it(client, post, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(Bundle, "step", fail)
    answer = post("generate", model="letters")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(answer.json())


# === Bundles ===


def test_a_broken_bundle_is_named_and_the_others_are_served(directory, caplog):
    with caplog.at_level("ERROR"):
        assert list(open_bundles(directory)) == ["letters", "opinions", "translator"]
    assert f"broken{os.sep}tokenizer.json is not as it was exported" in caplog.text
    assert "foreign has no tokenizer" in caplog.text
    assert "no_graph is not served" in caplog.text
    assert re.search(r"newer is of format 99 .*: update the program", caplog.text)


def test_no_bundle_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no bundle in .*export"):
        open_bundles(tmp_path)
