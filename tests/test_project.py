"""The rules of the project that a program can check: who imports whom, and what files are named."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "training", "export", "serving")
FRAMEWORKS = {"keras", "keras_hub", "tensorflow", "torch", "jax"}
# What may be imported where no framework is: the service and the reader of bundles.
FRAMEWORK_FREE = ("zoo.contract", "zoo.bundle", "zoo.decoding", "zoo.tokenizers")


def modules(*folders: str) -> dict[str, Path]:
    """Returns the modules under the folders, dotted name -> file; a package under its own name."""
    files = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    names = ((".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in files)
    return {name.removesuffix(".__init__"): path for name, path in names}


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


# === Imports ===


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("zoo", ("zoo",)),
        ("training", ("training", "zoo")),
        ("export", ("export", "zoo")),
        ("serving", ("serving", *FRAMEWORK_FREE)),
    ],
)
def test_imports_run_one_way(package, allowed, own_imports):
    imports, source = own_imports
    for module, path in modules(package).items():
        # Only the longest names: `zoo` in `zoo.bundle` is no import of its own.
        names = [n for n in imports(path, lazy=True) if source(n) and n not in PACKAGES]
        wrong = [name for name in names if not within(name, allowed)]
        assert not wrong, f"{module} may import {', '.join(allowed)} and imports {wrong}"


def test_service_and_bundles_load_no_framework():
    free = [name for name in modules(*PACKAGES) if within(name, (*FRAMEWORK_FREE, "serving"))]
    code = f"import sys, zoo, {', '.join(free)}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not FRAMEWORKS & set(ran.stdout.split())


def test_models_know_no_backend(own_imports):
    imports, _ = own_imports
    for module, path in modules("zoo/models").items():
        assert not {"tensorflow", "torch", "jax"} & imports(path, lazy=True), module
        asks = re.search(r"\bbackend\(\)|KERAS_BACKEND", path.read_text(encoding="utf-8"))
        assert not asks, f"{module}: a kernel that one backend has belongs in zoo/layers/"


# === Files ===


def test_no_script_hijacks_an_import():
    """`python export/onnx.py` would make `import onnx`, beside it, find that file."""
    installed = set(packages_distributions()) - set(PACKAGES)
    for folder in ("training", "export", "serving", "tests/benchmarks"):
        beside = {path.stem for path in (ROOT / folder).glob("[!_]*") if path.suffix in ("", ".py")}
        assert not beside & (installed | sys.stdlib_module_names), folder


@pytest.mark.parametrize("folder", ["tests", "datasets"])
def test_what_is_no_package_hides_none(folder):
    """With an __init__.py, tests/zoo would hide zoo, and datasets the library of that name."""
    assert not list((ROOT / folder).rglob("__init__.py"))


# === Dependencies ===


def requirements() -> list[Requirement]:
    """Returns what pyproject.toml asks for, base and extras, but for the project itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = (Requirement(line) for group in groups for line in group)
    return [requirement for requirement in found if requirement.name != project["name"]]


def test_every_import_is_declared(own_imports):
    imports, _ = own_imports
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    owners = packages_distributions()
    for module, path in modules(*PACKAGES).items():
        names = {name for name in imports(path, lazy=True) if "." not in name}
        for name in names - set(PACKAGES) - sys.stdlib_module_names:
            by = {canonicalize_name(distribution) for distribution in owners.get(name, [])}
            assert by & declared, f"{module} imports {name}, which pyproject.toml does not name"


def test_constraints_pin_what_is_declared():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for pin in (Requirement(line) for line in lines if line and not line.startswith("#")):
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        # A local version, as in 2.13.0+cpu, exists on one index and on no other.
        assert Version(specifier.version).local is None
        pins[canonicalize_name(pin.name)] = specifier.version
    for asked in requirements():
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), str(asked)


def test_presets_leave_a_repository_small():
    total = 0
    for preset in (ROOT / "zoo" / "presets").iterdir():
        scores = json.loads((preset / "about.json").read_text(encoding="utf-8"))["scores"]
        files = (path for path in preset.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        assert size < (12e6 if "bleu" in scores else 4e6), preset.name
        total += size
    assert total < 100e6
