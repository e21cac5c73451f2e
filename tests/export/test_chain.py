"""Every link at once: trained, saved, exported, and served by a process without a framework."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from zoo.decoding import Options, Request, generate

# The fixture trains and exports.
pytestmark = [pytest.mark.keras, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service(exported, tmp_path_factory):
    """A server process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bundles = exported["lstm"].directory.parent
    command = [sys.executable, ROOT / "serving" / "run.py", "--bundles", bundles]
    home = tmp_path_factory.mktemp("bentoml")
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = []
    for line in process.stdout:
        log.append(line)
        if "ZooService initialized" in line:
            break
    assert process.poll() is None, "".join(log)
    yield process, f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def post(address, body):
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_a_served_model_writes_what_keras_writes(exported, service):
    _, address = service
    options = {"temperature": 1.0, "seed": 11, "max_tokens": 25}
    task, tokenizer = exported["lstm"].task, exported["lstm"].bundle.tokenizer
    request = Request.of(tokenizer, "the ", options=Options(**options))
    answer = post(f"{address}/generate", {"model": "lstm", "prompt": "the ", **options})
    (expected,) = generate(task, tokenizer, [request])
    assert answer["results"][0]["text"] == expected.text

    logits, _ = task.step([request.prompt_ids], task.start(1))
    tokens = post(f"{address}/next_token", {"model": "lstm", "text": "the ", "k": 1})["tokens"]
    assert tokens[0]["token_id"] == logits[0, -1, 1:].argmax() + 1

    answer = post(f"{address}/translate", {"model": "sutskever", "text": ["a cat", "the dog"]})
    assert [result["text"] for result in answer["results"]] == ["un chat", "le chien"]


def test_the_service_has_no_framework_in_memory(service):
    process = psutil.Process(service[0].pid)
    mapped = {
        Path(file.path).name
        for one in [process, *process.children(recursive=True)]
        for file in one.memory_maps()
    }
    assert any("onnxruntime" in name for name in mapped)
    for framework in ("tensorflow", "torch", "jax"):
        assert not [name for name in mapped if framework in name]
