"""Verifies a bundle that is there, without Keras: its files, its manifest, its graphs, a run."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from export import manifest
from export.verify import ExportError, stand_in_tokenizer, verify
from zoo.bundle import Bundle, Classifier
from zoo.decoding import Request, generate
from zoo.tokenizers import EOS_ID


def check(directory: Path) -> str:
    """Verifies a bundle; its graphs read tokens at once and one by one, and write texts.

    Returns:
        What it is, in some words.

    Raises:
        ExportError: it is not as it was exported; the message names what is wrong.
    """
    described = manifest.read(directory)
    _check_files(directory, described["files"])
    for name, values in described["graphs"].items():
        _check_graph(directory / name, values)
    if "state" in described:
        _run_contract(directory, described)
    elif "labels" in described:
        _run_classifier(directory, described)
    else:
        _run_forward(directory, described)
    return f"{described['architecture']}, {len(described['files'])} files as they were exported"


def _check_files(directory, listed):
    there = {path.relative_to(directory).as_posix(): path for path in manifest.files(directory)}
    if missing := sorted(listed.keys() - there.keys()):
        raise ExportError(f"{directory / missing[0]} is missing: export the model again")
    if added := sorted(there.keys() - listed.keys()):
        raise ExportError(f"{directory / added[0]} is not part of the bundle: take it away")
    for name, path in there.items():
        if manifest.sha256(path) != listed[name]:
            raise ExportError(f"{path} is not as it was exported: export the model again")


def _check_graph(path, values):
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path} is no valid graph: {str(error).splitlines()[0]}") from None
    if manifest.graph(path) != values:
        raise ExportError(f"{path} has other inputs or outputs than the manifest says")


def _run_contract(directory, described):
    bundle = Bundle(directory)
    tokenizer = bundle.tokenizer or stand_in_tokenizer(described["vocabulary_size"])
    if described["quantization"]:  # whose sums depend on what is read together
        source = "" if bundle.source_tokenizer else None
        generate(bundle, tokenizer, [Request.of(tokenizer, "", source)])
    else:
        verify(bundle, bundle, tokenizer, bundle.source_tokenizer)


def _run_classifier(directory, described):
    probabilities = Classifier(directory).classify([[EOS_ID], [described["vocabulary_size"] - 1]])
    if probabilities.shape != (2, len(described["labels"])) or not np.isfinite(probabilities).all():
        raise ExportError(f"{directory} does not tell a probability of each label")


def _run_forward(directory, described):
    session = onnxruntime.InferenceSession(directory / "forward.onnx")
    inputs = described["graphs"]["forward.onnx"]["inputs"]
    session.run(
        None, {i["name"]: np.ones([n or 1 for n in i["shape"]], i["dtype"]) for i in inputs}
    )
