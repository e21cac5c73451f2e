"""Bundles on the command line, in an environment where nothing but `infer` is installed."""

import os
import subprocess
import sysconfig
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zoo.decoding import Options, Request, generate

# The fixture trains and exports.
pytestmark = [pytest.mark.keras, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("keras", "keras_hub", "tensorflow", "torch", "jax", "onnx")


def needed(*extras):
    """The distributions that the base and these extras bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    waiting = [(Requirement(line), ()) for group in groups for line in group]
    found = {}
    while waiting:
        requirement, extras = waiting.pop()
        marker, name = requirement.marker, canonicalize_name(requirement.name)
        if marker and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        if name not in found:
            found[name] = distribution(name)
            lines = found[name].requires or ()
            waiting += [(Requirement(line), tuple(requirement.extras)) for line in lines]
    return found.values()


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that finds the base and the extra `infer`, by links to what is installed."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    paths = {"base": str(home), "platbase": str(home)}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    for package in needed("infer"):
        names = {Path(file).parts[0] for file in package.files} - {"..", "__pycache__"}
        for name in names:
            if not (site / name).exists():
                (site / name).symlink_to(package.locate_file(name))
    (site / "zoo.pth").write_text(str(ROOT))
    return Path(sysconfig.get_path("scripts", scheme="venv", vars=paths)) / "python"


def run(python, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [python, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)


def test_there_is_no_framework(python):
    code = f"from importlib.util import find_spec; print(*map(find_spec, {FRAMEWORKS!r}))"
    ran = run(python, "-c", code)
    assert ran.stdout.split() == ["None"] * len(FRAMEWORKS), ran.stderr


def test_a_language_model_writes(exported, python):
    directory, bundle = exported["lstm"].directory, exported["lstm"].bundle
    ran = run(python, "-m", "export.infer", directory, "the c", "a", "--max-tokens", 20)
    assert ran.returncode == 0, ran.stderr
    requests = [
        Request.of(bundle.tokenizer, p, options=Options(max_tokens=20)) for p in ("the c", "a")
    ]
    results = generate(exported["lstm"].task, bundle.tokenizer, requests)
    assert ran.stdout == f"the c{results[0].text}\na{results[1].text}\n"


def test_a_translation_model_translates(exported, python):
    directory = exported["sutskever"].directory
    ran = run(python, "-m", "export.infer", directory, "the cat", "a dog", "--beam", 2)
    assert (ran.returncode, ran.stdout) == (0, "le chat\nun chien\n"), ran.stderr
    ran = run(python, "-m", "export.infer", directory, "a cat", "--beam", 2, "--n-best", 2)
    number, _, text = ran.stdout.splitlines()[0].split("\t")
    assert (number, text) == ("1", "un chat")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "export.infer", "nowhere", "a"], "nowhere is no bundle"),
        (["-m", "export.infer", "BUNDLE", "a", "--file", "x"], "texts or a --file, not both"),
        (["export/run.py", "lstm_names", "--to", "new"], "pip install 'sequence-zoo[export]'"),
        (["export/run.py", "--check", "BUNDLE"], "pip install 'sequence-zoo[export]'"),
    ],
)
def test_a_mistake_is_one_line(exported, python, arguments, said):
    directory = str(exported["lstm"].directory)
    ran = run(python, *(directory if word == "BUNDLE" else word for word in arguments))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
