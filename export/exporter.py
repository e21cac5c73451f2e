"""Exports models: to graphs for ONNX Runtime and TensorFlow, checked against the models themselves.

from export.exporter import export
export(model, "bundles/lstm")
"""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from export.verify import ExportError

_NEEDS = {
    "keras_hub": "keras-hub",
    "tensorflow": "tensorflow",
    **{name: name for name in ("tf2onnx", "onnx", "onnxruntime", "onnxscript", "jsonschema")},
}
_BAR = "{desc} |{bar}| {elapsed}{postfix}"


def export(model: Any, to: str | os.PathLike, **options) -> dict:
    """Writes the bundle of one model; see `export_all`."""
    return export_all({to: model}, **options)[0]


def export_all(
    models: Mapping[str | os.PathLike, Any],
    quantize: Literal["int8"] | None = None,
    max_loss: float = 0.02,
) -> list[dict]:
    """Writes bundles; `zoo.bundle` says what is in one.

    A bundle is compared with its model on this process's backend before it appears, all at once.

    Args:
        models: by the directory to write, which is new or empty: what `zoo.load` takes, a task of
            `zoo.tasks`, a KerasHub `CausalLM`, an `export.foreign.TextClassifier`, or any other
            `keras.Model`, whose forward pass alone is exported.
        quantize: what the weights of the graphs for ONNX Runtime become; of presets and runs alone,
            whose test data says what that costs.
        max_loss: how much worse the perplexity or BLEU may be then, as a part of what it was.

    Returns:
        The manifest of each.

    Raises:
        ExportError: a directory is not empty, a package is missing, the disk is full, the model
            does not convert, its graphs are not the same function or lose too much when they are
            quantized; no bundle is left.
        ValueError: there is no such preset.
    """
    if missing := [name for name in _NEEDS if not importlib.util.find_spec(name)]:
        raise ExportError(f"{_NEEDS[missing[0]]} is missing: pip install 'sequence-zoo[export]'")
    from export import finish, foreign

    try:
        with ExitStack() as stack:
            drafts = [stack.enter_context(_draft(Path(to))) for to in models]
            saved = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-export-")))
            loaded, sources, presets = [], [], []
            for i, model in enumerate(models.values()):
                is_name = isinstance(model, str | os.PathLike)
                loaded.append(foreign.load(model) if is_name else foreign.adapt(model))
                finish.check_tokenizer(loaded[-1])
                sources.append(model if is_name else foreign.save(model, saved / str(i)))
                presets.append(model if is_name else None)
            encoders = sum(bool(getattr(model, "source_tokenizer", None)) for model in loaded)
            _convert(list(zip(sources, drafts)), 3 * len(loaded) + encoders)
            manifests = [
                finish.finish(draft, model, preset, quantize, max_loss)
                for draft, model, preset in zip(drafts, loaded, presets)
            ]
            for to, draft in zip(models, drafts):
                os.replace(draft, to)
        return manifests
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ExportError("the disk is full: make room, or name another directory") from None
        raise


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


def _convert(pairs, stages):
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
        tqdm(total=stages, desc="exporting", bar_format=_BAR) as bar,
    ):
        for stage in process.stdout:
            bar.set_postfix_str(stage.strip())
            bar.update()
        if process.wait():
            errors.seek(0)
            last = (errors.read().strip() or "it was killed").splitlines()[-1]
            raise ExportError(last.removeprefix("error: "))
