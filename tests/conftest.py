"""What all tests share: one thread a process, seeds, a plain Keras, and which modules run Keras.

`pytest -m "not keras"` is the part that needs no Keras, and does not import it. The rest is run
once per backend, `KERAS_BACKEND=torch pytest -m keras`; tests/suite.py makes all four runs.
"""

import ast
import functools
import os
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "training", "export", "serving")

# Two workers of one thread are faster than one of two, and a sum in one thread has one order.
# A GPU takes part where CUDA_VISIBLE_DEVICES says so.
for _name, _value in {
    "KERAS_BACKEND": "jax",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TOKENIZERS_PARALLELISM": "false",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "BENTOML_DO_NOT_TRACK": "true",
}.items():
    os.environ.setdefault(_name, _value)


def pytest_configure(config):
    """Keeps a user's ~/.keras/keras.json out of the tests, and the tests out of ~/.keras.

    What XLA compiles on jax, which is most of the time there, is kept for other processes and the
    next run in pytest's cache; `--cache-clear` makes it anew.
    """
    if hasattr(config, "cache"):  # not with `-p no:cacheprovider`
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="keras-")
        config.add_cleanup(folder.cleanup)
        os.environ["KERAS_HOME"] = folder.name


# === Which modules run Keras ===


@functools.cache
def imports(path: Path, lazy: bool = False) -> frozenset[str]:
    """Returns the dotted names that a file imports, `a`, `a.b` and `a.b.c` for `from a.b import c`.

    Imports inside functions, which wait for a call, and those for a type checker count if `lazy`.
    """
    names, nodes = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        )
        if lazy or not deferred:
            nodes.extend(ast.iter_child_nodes(node))
    parts = (name.split(".") for name in names)
    return frozenset(".".join(p[:end]) for p in parts for end in range(1, len(p) + 1))


def source(name: str) -> Path | None:
    """Returns the file of one of our own modules, None for anybody else's."""
    path = ROOT.joinpath(*name.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((f for f in files if name.split(".")[0] in PACKAGES and f.is_file()), None)


@functools.cache
def runs_keras(path: Path) -> bool:
    """Says whether a test module imports Keras, directly or through ours, or is marked by hand.

    The mark, `pytestmark = pytest.mark.keras`, is for what no import shows: Keras in another
    process, or behind a function that imports it when called.
    """
    if "pytest.mark.keras" in path.read_text(encoding="utf-8"):
        return True
    seen, names = set(), set(imports(path, lazy=True))
    while names:
        name = names.pop()
        if name in ("keras", "keras_hub"):
            return True
        if name not in seen and (file := source(name)):
            names |= imports(file)
        seen.add(name)
    return False


def pytest_ignore_collect(collection_path, config):
    """Does not even import a module that runs Keras where the marks leave it out."""
    if collection_path.suffix == ".py" and config.option.markexpr == "not keras":
        return runs_keras(collection_path) or None
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if runs_keras(item.path):
            item.add_marker("keras")


@pytest.fixture(scope="module", autouse=True)
def _backend(request):
    """Runs Keras on the backend that was asked for, and nothing where it was not asked for."""
    if not runs_keras(request.path):
        loaded = "keras" in sys.modules
        yield
        if not loaded and "keras" in sys.modules:
            pytest.fail("runs Keras unseen: give this module `pytestmark = pytest.mark.keras`")
        return
    import keras

    assert keras.config.backend() == os.environ["KERAS_BACKEND"]
    yield
    keras.utils.clear_session()  # or names go on counting, lstm_17, from module to module


# === Seeds ===


@pytest.fixture(autouse=True)
def _seed(request):
    if runs_keras(request.path):
        import keras

        keras.utils.set_random_seed(0)


def pytest_fixture_setup(fixturedef, request):
    """Gives a model that a module's tests share the same weights whichever of them asks first."""
    if fixturedef.scope in ("module", "class") and runs_keras(request.path):
        import keras

        keras.utils.set_random_seed(zlib.crc32(fixturedef.argname.encode()))


@pytest.fixture
def own_imports():
    """`imports` and `source`, for the tests about imports."""
    return imports, source
