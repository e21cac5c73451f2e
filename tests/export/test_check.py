"""A bundle that is there, verified again without Keras; and what the manifest's schema refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import onnx
import pytest

from export import manifest
from export.check import check
from export.verify import ExportError

# The fixture trains and exports.
pytestmark = [pytest.mark.keras, pytest.mark.slow]
PROGRAM = Path(__file__).parents[2] / "export" / "run.py"


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported["sutskever"].directory, tmp_path / "bundle")


def change(directory, change):
    path = directory / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["lstm", "transformer", "sutskever"])
def test_what_was_exported_is_in_order(exported, name):
    assert check(exported[name].directory).endswith("files as they were exported")


def test_no_keras_is_loaded(exported):
    code = (
        "import sys; from pathlib import Path; from export.check import check; "
        "check(Path(sys.argv[1])); "
        "assert not {'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, exported["lstm"].directory], check=True)


def test_the_command_line_says_so(copy):
    command = [sys.executable, PROGRAM, "--check", copy]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{copy}: SutskeverEncoderDecoder, ")
    (copy / "encode.onnx").unlink()
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"error: {copy / 'encode.onnx'} is missing: export the model again\n"


@pytest.mark.parametrize("name", ["decode.onnx", "saved_model/saved_model.pb", "tokenizer.json"])
def test_a_changed_file_is_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{name} is not as it was exported"):
        check(copy)


def test_a_file_too_many_is_named(copy):
    (copy / "saved_model" / "notes.txt").write_text("")
    with pytest.raises(ExportError, match=r"notes\.txt is not part of the bundle"):
        check(copy)


def signed(directory, name):
    """The manifest takes a changed file for the right one."""
    sha256 = manifest.sha256(directory / name)
    change(directory, lambda content: content["files"].update({name: sha256}))


def test_a_graph_that_is_none_is_named(copy):
    (copy / "decode.onnx").write_bytes(b"nothing")
    signed(copy, "decode.onnx")
    with pytest.raises(ExportError, match=r"decode\.onnx is no valid graph"):
        check(copy)


def test_a_graph_with_other_inputs_is_named(copy):
    model = onnx.load(copy / "encode.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", 1, [None]))
    onnx.save(model, copy / "encode.onnx")
    signed(copy, "encode.onnx")
    with pytest.raises(ExportError, match=r"encode\.onnx has other inputs or outputs"):
        check(copy)


def test_a_directory_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(ValueError, match=r"is no bundle: it has no manifest\.json"):
        check(tmp_path)


# === The schema ===


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json.loads(manifest.SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda content: content.update(format_version=2), "format_version: 1 was expected"),
        (lambda content: content.pop("files"), "'files' is a required property"),
        (lambda content: content.pop("ragged"), "'ragged' is a dependency of 'state'"),
        (lambda content: content.update(extra=1), "'extra' was unexpected"),
        (lambda content: content["state"][0].update(kind="odd"), "state/0/kind: 'odd' is not"),
        (lambda content: content["files"].update(x="y"), "files/x: 'y' does not match"),
    ],
)
def test_what_the_schema_refuses(copy, wrong, message):
    change(copy, wrong)
    with pytest.raises(ValueError, match=message):
        manifest.read(copy)
