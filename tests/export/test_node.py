"""Bundles outside of Python: onnxruntime-node gives the same tokens."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

# The fixture trains and exports.
pytestmark = [pytest.mark.keras, pytest.mark.slow]
PROGRAM = Path(__file__).with_name("greedy.mjs")
PACKAGE = "onnxruntime-node@1.30.0"


@pytest.fixture(scope="session")
def modules(request):
    """Where onnxruntime-node is installed; it is fetched once, into pytest's cache."""
    from filelock import FileLock

    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = request.config.cache.mkdir("node") / PACKAGE
    with FileLock(f"{folder}.lock"):
        if not (folder / "installed").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, PACKAGE]
            # What its script fetches besides is for a GPU.
            command += ["--onnxruntime-node-install=skip", "--onnxruntime-node-install-cuda=skip"]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                pytest.skip(f"npm cannot fetch {PACKAGE}: {ran.stderr.strip()[-200:]}")
            (folder / "installed").touch()
    return folder


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_node_writes_the_same_tokens(exported, modules, name):
    bundle, prompt, expected = exported[name].bundle, [1, 4, 5, 6], []
    token_ids, state = [prompt], bundle.start(1)
    for _ in range(30):
        logits, state = bundle.step(token_ids, state)
        expected.append(int(logits[0, -1, 1:].argmax()) + 1)
        token_ids = [expected[-1:]]
    command = ["node", PROGRAM, modules, exported[name].directory, len(expected), *prompt]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == expected
