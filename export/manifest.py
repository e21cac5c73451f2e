"""What a bundle says of itself: its `manifest.json`, and the schema of one."""

import csv
import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import onnx

from zoo import presets
from zoo.bundle import FORMAT_VERSION
from zoo.contract import Decodable
from zoo.tokenizers import SPECIAL_TOKENS

NAME = "manifest.json"
SCHEMA = Path(__file__).parent / "manifest.schema.json"

_DATASETS = Path(__file__).parents[1] / "datasets"
_VERSIONS = ("sequence-zoo", "keras", "keras-hub", "tensorflow", "tf2onnx", "onnx", "onnxruntime")


def write(directory: Path, model: Any, preset: Any = None, **sections) -> dict:
    """Writes the manifest of a bundle whose other files are there.

    Args:
        directory: of the bundle.
        model: what was exported, a `keras.Model`.
        preset: name or directory that it was loaded from.
        sections: `verification` and `quantization`, once they are known.

    Returns:
        The manifest.

    Raises:
        ValueError: it is not as the schema says.
    """
    manifest = {
        "format_version": FORMAT_VERSION,
        "preset": Path(preset).name if preset else None,
        **_contract(model),
        **(_training(presets.find(preset)) if preset else {"data": None, "scores": None}),
        "graphs": {path.name: graph(path) for path in sorted(directory.glob("*.onnx"))},
        "verification": None,
        "quantization": None,
        "versions": {name: version(name) for name in _VERSIONS},
        "files": {
            path.relative_to(directory).as_posix(): sha256(path) for path in files(directory)
        },
        **sections,
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (directory / NAME).write_text(text + "\n", "utf-8")
    return read(directory)


def read(directory: Path) -> dict:
    """The manifest of a bundle.

    Raises:
        ValueError: there is none, or it is not as the schema says.
    """
    try:
        manifest = json.loads((directory / NAME).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{directory} is no bundle: it has no {NAME}") from None
    except ValueError:
        raise ValueError(f"{directory / NAME} is damaged: export the model again") from None
    check(manifest)
    return manifest


def check(manifest: Any) -> None:
    """Raises `ValueError` where a manifest is not as the schema says."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    errors = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    if error := jsonschema.exceptions.best_match(errors):
        where = "/".join(map(str, error.absolute_path))
        raise ValueError(f"{NAME}: {where or 'it'}: {error.message[:200]}")


def files(directory: Path) -> Iterator[Path]:
    """The files of a bundle but for the manifest, in order."""
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return (path for path in paths if path != directory / NAME)


def sha256(path: Path) -> str:
    """Of the content of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# === What was exported ===


def _contract(model):
    """Of a model that decoders can run, the contract; of any other, its name."""
    if not isinstance(model, Decodable):
        return {"architecture": type(model).__name__, "parameters": model.count_params()}
    network = model.backbone.network
    source = model.source_tokenizer
    return {
        "architecture": network.architecture,
        "parameters": model.backbone.count_params(),
        "vocabulary_size": network.vocabulary_size,
        "source_vocabulary_size": source.vocabulary_size if source else None,
        "max_length": model.max_length,
        "ragged": model.ragged,
        "special_ids": {token: i for i, token in enumerate(SPECIAL_TOKENS)},
        "state": [dataclasses.asdict(leaf) for leaf in model.state_spec],
    }


def graph(path: Path) -> dict[str, list[dict]]:
    """Inputs and outputs of a graph; a size that varies has a name or is unknown."""
    model = onnx.load(path, load_external_data=False).graph
    return {
        side: [_value(value) for value in values]
        for side, values in (("inputs", model.input), ("outputs", model.output))
    }


def _value(value):
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
        "shape": [
            size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim
        ],
    }


# === What it was trained on, by the files beside a preset ===


def _training(directory):
    """The data and the scores of a preset, or of a run, as far as there is a word of them."""
    of_run = directory.parent if directory.name == "preset" else directory
    results, recipe = of_run / "results.csv", directory / "recipe.toml"
    if results.is_file():
        with results.open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
    elif recipe.is_file():
        row = tomllib.loads(recipe.read_text("utf-8"))
    else:
        return {"data": None, "scores": None}
    return {"data": _data(row), "scores": _scores(row)}


def _data(row):
    about = _DATASETS / row["data"] / "dataset.toml"
    described = tomllib.loads(about.read_text("utf-8")) if about.is_file() else {}
    own = {name: row.get(key) for name, key in _DATA.items()}
    return own | {name: described.get(name) for name in ("title", "licence", "attribution")}


_DATA = {"name": "data", "split": "split", "sha256": "data_sha256"}


def _scores(row):
    """By part and metric, from columns such as `test_nats`."""
    scores: dict[str, dict[str, float]] = {}
    for column, value in row.items():
        part, _, metric = column.partition("_")
        if part in ("train", "valid", "test") and metric and value:
            scores.setdefault(part, {})[metric] = float(value)
    return scores or None
