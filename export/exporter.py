"""Exports models: to graphs for ONNX Runtime and TensorFlow, checked against the models themselves.

from export.exporter import export
export(model, "bundles/lstm")
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

import zoo
from export import manifest
from export.verify import TOLERANCE, ExportError, verify
from zoo import presets
from zoo.bundle import Bundle

_NEEDS = ("tensorflow", "tf2onnx", "onnx")
_BAR = "{desc} |{bar}| {elapsed}{postfix}"


def export(model: Any, to: str | os.PathLike) -> dict:
    """Writes the bundle of one model; see `export_all`."""
    return export_all({to: model})[0]


def export_all(models: Mapping[str | os.PathLike, Any]) -> list[dict]:
    """Writes bundles; `zoo.bundle` says what is in one.

    A bundle is compared with its model on this process's backend before it appears, all at once.

    Args:
        models: by the directory to write, which is new or empty: a task of `zoo.tasks`, or what
            `zoo.load` takes.

    Returns:
        The manifest of each.

    Raises:
        ExportError: a directory is not empty, a package is missing, the model does not convert or
            its graphs are not the same function; no bundle is left.
        ValueError: there is no such preset.
    """
    if missing := [name for name in _NEEDS if not importlib.util.find_spec(name)]:
        raise ExportError(f"{missing[0]} is missing: pip install 'sequence-zoo[export]'")
    with ExitStack() as stack:
        drafts = [stack.enter_context(_draft(Path(to))) for to in models]
        saved = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-export-")))
        tasks, names = [], []
        for i, model in enumerate(models.values()):
            is_name = isinstance(model, str | os.PathLike)
            tasks.append(zoo.load(model) if is_name else model)
            names.append(model if is_name else saved / str(i))
            if not is_name:
                presets.save(model, saved / str(i))
            manifest.check_tokenizer(tasks[-1])
        graphs = sum(1 + hasattr(task.backbone.network, "encode") for task in tasks)
        _convert(list(zip(names, drafts)), graphs)
        manifests = [_finished(draft, task) for draft, task in zip(drafts, tasks)]
        for to, draft in zip(models, drafts):
            os.replace(draft, to)
    return manifests


@contextmanager
def _draft(to: Path) -> Iterator[Path]:
    """A directory beside `to` that goes away if it is not renamed."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ExportError(f"{to} is there and not empty: name another directory")
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.part-"))
    draft.chmod(0o755)  # a temporary directory is its owner's alone
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _convert(pairs, graphs):
    """Runs `export.convert` in an interpreter of its own, with a bar for the stages it prints."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    # -P: nothing in the user's directory stands in for a package.
    command = [sys.executable, "-P", "-m", "export.convert"]
    command += [str(path) for pair in pairs for path in pair]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
        tqdm(total=2 * len(pairs) + graphs, desc="exporting", bar_format=_BAR) as bar,
    ):
        for stage in process.stdout:
            bar.set_postfix_str(stage.strip())
            bar.update()
        if process.wait():
            errors.seek(0)
            last = (errors.read().strip() or "it was killed").splitlines()[-1]
            raise ExportError(last.removeprefix("error: "))


def _finished(draft, task):
    """Adds tokenizers, compares the graphs with the task, and writes the manifest."""
    tokenizer, source_tokenizer = task.tokenizer, task.source_tokenizer
    tokenizer.save(draft / "tokenizer.json")
    if source_tokenizer and source_tokenizer is not tokenizer:
        source_tokenizer.save(draft / "source_tokenizer.json")
    manifest.write(task, draft)
    from export.saved_model import SavedModel  # TensorFlow takes seconds

    models = SavedModel(draft / "saved_model", task), Bundle(draft)
    differences = [verify(model, task, tokenizer, source_tokenizer) for model in models][-1]
    return manifest.write(
        task, draft, verified={"tolerance": TOLERANCE, "largest_differences": differences}
    )
