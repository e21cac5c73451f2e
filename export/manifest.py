"""What a bundle says of itself: its `manifest.json`."""

import dataclasses
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from export.verify import ExportError
from zoo.bundle import FORMAT_VERSION
from zoo.tokenizers import SPECIAL_TOKENS

_VERSIONS = ("sequence-zoo", "keras", "keras-hub", "tensorflow", "tf2onnx", "onnx")


def check_tokenizer(task) -> None:
    """Raises `ExportError` where there is none, or one of another model."""
    if task.preprocessor is None:
        raise ExportError("the preset has no tokenizer: save the task with its preprocessor")
    sizes = task.tokenizer.vocabulary_size, task.backbone.network.vocabulary_size
    if sizes[0] > sizes[1]:
        raise ExportError(
            f"the tokenizer has {sizes[0]} tokens and the model {sizes[1]}: they do not belong "
            "together"
        )


def write(task, directory: Path, **verified) -> dict:
    """Writes what a reader needs to know, and returns it; `zoo.bundle` is one."""
    network = task.backbone.network
    manifest = {
        "format_version": FORMAT_VERSION,
        "architecture": type(network).__name__,
        "vocabulary_size": network.vocabulary_size,
        "max_length": network.max_length,
        "special_ids": {token: i for i, token in enumerate(SPECIAL_TOKENS)},
        "state": [dataclasses.asdict(leaf) for leaf in network.state_spec],
        "versions": {name: version(name) for name in _VERSIONS},
        "files": {
            str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        },
        **verified,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    return manifest
