"""What fails or is killed leaves nothing that looks like a bundle, and int8 pays for itself."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export import exporter, measure
from export.exporter import ExportError, export

# The program exports in other processes.
pytestmark = [pytest.mark.keras, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, ROOT / "export" / "run.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def manifests(directory):
    """What a server looks for."""
    return list(directory.glob("[!.]*/manifest.json"))


def test_a_killed_export_leaves_no_bundle(tmp_path):
    command = [sys.executable, ROOT / "export" / "run.py", "bigram_names"]
    command += ["--to", tmp_path / "bundle"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, bufsize=1, start_new_session=True
    )
    said = ""
    while "SavedModel" not in said and process.poll() is None:  # the last stage
        said += process.stderr.read(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert any(tmp_path.iterdir())  # it had begun
    assert not (tmp_path / "bundle").exists()
    assert not manifests(tmp_path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporter, "_convert", full)
    with pytest.raises(ExportError, match="the disk is full: make room"):
        export("bigram_names", tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_what_to_do(tmp_path, monkeypatch):
    find_spec = exporter.importlib.util.find_spec
    hidden = lambda name: None if name == "tf2onnx" else find_spec(name)  # noqa: E731
    monkeypatch.setattr(exporter.importlib.util, "find_spec", hidden)
    with pytest.raises(ExportError, match=r"^tf2onnx is missing: pip install 'sequence-zoo\[exp"):
        export("bigram_names", tmp_path / "bundle")


def test_nothing_is_asked_for():
    ran = run()
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == ("error: say what to export and --to where, or which bundle to --check\n")


# === int8 ===


@pytest.fixture(scope="module")
def trained(exported, tmp_path_factory):
    """The preset of a language model, as a run with a test part leaves it."""
    data = tmp_path_factory.mktemp("data") / "cats.txt"
    data.write_text("the cat sees the dog.\nthe dog hears a cat.\na bird sees the cat.\n" * 20)
    preset = exported["lstm"].directory.parents[1] / "presets" / "lstm"
    recipe = f'data = "{data}"\nkind = "lines"\nfractions = [0.8, 0.1, 0.1]\nwindow = 16\n'
    (preset / "recipe.toml").write_text(recipe)
    return preset


def test_int8_says_what_it_costs(trained, tmp_path):
    ran = run(trained, "--to", tmp_path / "bundle", "--quantize", "int8", "--max-loss", 1)
    assert ran.returncode == 0, ran.stderr
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    told = manifest["quantization"]
    assert (told["method"], told["metric"]) == ("int8", "perplexity")
    assert told["float32"] != told["quantized"] > 1
    assert told["loss"] == pytest.approx(told["quantized"] / told["float32"] - 1)
    assert manifest["data"]["name"].endswith("cats.txt")
    assert run("--check", tmp_path / "bundle").returncode == 0


def test_too_much_is_refused(trained, tmp_path):
    ran = run(trained, "--to", tmp_path / "bundle", "--quantize", "int8", "--max-loss", -1)
    assert ran.returncode == 1
    assert "int8 takes the perplexity from" in ran.stderr.splitlines()[-1]
    assert ran.stderr.endswith("raise --max-loss, or leave --quantize out\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ({"perplexity": 10.0}, {"perplexity": 10.1}, 0.01),
        ({"perplexity": 3.0, "bleu": 40.0}, {"perplexity": 3.1, "bleu": 39.0}, 0.025),
    ],
)
def test_loss_is_a_part_of_the_score(before, after, lost):
    about = {"data": "the test part"}
    section = measure.loss("int8", before | about, after | about, 0.03)
    assert section["loss"] == pytest.approx(lost)
    with pytest.raises(ExportError, match=f"a loss of {lost:.2%} where 0.50% is the limit"):
        measure.loss("int8", before | about, after | about, 0.005)


def test_a_model_without_data_cannot_be_quantized(exported, tmp_path):
    with pytest.raises(ExportError, match="what a preset or a run was tested on"):
        export(exported["lstm"].task, tmp_path / "bundle", quantize="int8")
    assert not list(tmp_path.iterdir())
