"""What `bentoml build` makes, served from where it was put."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

_tests = Path(__file__).parents[1]
write_bundle = runpy.run_path(str(_tests / "toy_bundle.py"))["write_bundle"]
Server = runpy.run_path(str(_tests / "server_process.py"))["Server"]

pytestmark = pytest.mark.slow
ROOT = _tests.parent
FILES = ("bentofile.yaml", "constraints.txt", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """BentoML's home with a bento of a copy of the project, with one bundle."""
    project, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    for name in (*FILES, ".bentoignore"):
        shutil.copy(ROOT / name, project)
    for name in ("serving", "zoo"):
        shutil.copytree(ROOT / name, project / name)
    bundle = write_bundle(project / "bundles" / "letters", seed=1)
    (bundle / "saved_model").mkdir()
    (bundle / "saved_model" / "saved_model.pb").write_bytes(b"for TensorFlow")
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "bentoml", "build", "--version", "1"]
    built = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    shutil.rmtree(project)
    return home


def test_a_bento_holds_what_serves_and_no_more(home):
    bento = home / "bentos" / "sequence-zoo" / "1"
    files = {path.relative_to(bento / "src").as_posix() for path in bento.glob("src/**/*")}
    assert {"bundles/letters/decode.onnx", "zoo/bundle.py", "constraints.txt"} < files
    assert {name.split("/")[0] for name in files} == {*FILES, "bundles", "serving", "zoo"}
    assert not [name for name in files if "__pycache__" in name or "saved_model" in name]
    assert "--editable .[serving]" in (bento / "env" / "python" / "requirements.txt").read_text()
    assert "UV_CONSTRAINT=constraints.txt" in (bento / "env" / "docker" / "Dockerfile").read_text()


def test_a_bento_serves(home):
    command = [sys.executable, "-m", "bentoml", "serve", "sequence-zoo:1"]
    with Server("", home, command, PYTHONPATH="") as server:
        body = {"model": "letters", "prompt": "the ", "max_tokens": 4, "suppress_ids": [1]}
        (result,) = httpx.post(f"{server.url}/generate", json=body).json()["results"]
        assert len(result["token_ids"]) == 4
        assert "Sequence Zoo" in httpx.get(f"{server.url}/").text
    assert server.returned == 0
