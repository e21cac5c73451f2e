"""What makes a bundle of the graphs of a model: tokenizers, comparison, quantization, manifest."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime

from export import manifest, measure, weights
from export.foreign import TextClassifier
from export.quantize import quantize as quantized
from export.saved_model import Forward, SavedModel
from export.verify import (
    BATCHES,
    TEXTS,
    TOLERANCE,
    ExportError,
    compare,
    stand_in_tokenizer,
    verify,
)
from zoo.bundle import Bundle
from zoo.tasks import Generator
from zoo.tokenizers import EOS_ID


def check_tokenizer(model: keras.Model | TextClassifier) -> None:
    """Raises `ExportError` where a model of the zoo has none, or one of another model."""
    if not isinstance(model, Generator) or not model.ragged:
        return
    if model.preprocessor is None:
        raise ExportError("the preset has no tokenizer: save the task with its preprocessor")
    sizes = model.tokenizer.vocabulary_size, model.backbone.network.vocabulary_size
    if sizes[0] > sizes[1]:
        raise ExportError(
            f"the tokenizer has {sizes[0]} tokens and the model {sizes[1]}: they do not belong "
            "together"
        )


def finish(
    directory: Path,
    model: keras.Model | TextClassifier,
    preset: Any = None,
    quantize: str | None = None,
    max_loss: float = 0.0,
) -> dict:
    """Completes a bundle whose graphs are there, and returns its manifest.

    Args:
        directory: of the bundle.
        model: as it was before the export, on this process's backend.
        preset: name or directory that it was loaded from.
        quantize, max_loss: as for `export.exporter.export_all`.

    Raises:
        ExportError: the graphs are not the same function as the model, or lose too much.
    """
    sections = _write_beside(directory, model)
    manifest.write(directory, model, preset, **sections)
    sections["verification"] = {
        "backend": keras.config.backend(),
        "tolerance": TOLERANCE,
        "batches": BATCHES,
        **_compare(directory, model),
    }
    if quantize:
        before = measure.score(directory, preset)
        weights.rewrite(directory, quantized)
        manifest.write(directory, model, preset, **sections)
        after = measure.score(directory, preset)
        sections["quantization"] = measure.loss(quantize, before, after, max_loss)
    return manifest.write(directory, model, preset, **sections)


def _write_beside(directory, model):
    """Writes what a bundle holds beside graphs; returns what its manifest says of the model."""
    if isinstance(model, TextClassifier):
        (directory / "forward.onnx").rename(directory / "classify.onnx")
        model.tokenizer.save(directory / "tokenizer.json")
        return dict(model.facts)
    if isinstance(model, Generator) and model.preprocessor is not None:
        model.tokenizer.save(directory / "tokenizer.json")
        if model.source_tokenizer and model.source_tokenizer is not model.tokenizer:
            model.source_tokenizer.save(directory / "source_tokenizer.json")
    return {}


def _compare(directory, model):
    """The largest differences of what was exported, by the format."""
    if isinstance(model, Generator):
        return _compare_decodable(directory, model)
    if not isinstance(model, TextClassifier):
        return _compare_forward(directory, "forward.onnx", model, BATCHES, (0, 2))
    longest = model.facts["max_length"]
    batches = [(rows, min(time, longest or time)) for rows, time in BATCHES]
    ids = EOS_ID, model.tokenizer.vocabulary_size
    return _compare_forward(
        directory, "classify.onnx", model.model, [*batches, (1, longest or 1)], ids
    )


def _compare_decodable(directory, model):
    if model.preprocessor is None:
        tokenizers = [stand_in_tokenizer(model.backbone.network.vocabulary_size), None]
    else:
        tokenizers = [model.tokenizer, model.source_tokenizer]
    exported = {
        "onnx": Bundle(directory),
        "saved_model": SavedModel(directory / "saved_model", model),
    }
    differences = {name: verify(one, model, *tokenizers) for name, one in exported.items()}
    return {"texts": list(TEXTS), **differences}


def _compare_forward(directory, graph, model, batches, ids):
    session = onnxruntime.InferenceSession(directory / graph)
    saved_model = Forward(directory / "saved_model")
    names = list(saved_model.outputs)
    exported = {
        "onnx": lambda inputs: dict(zip(names, session.run(names, inputs))),
        "saved_model": saved_model,
    }
    random = np.random.default_rng(0)
    differences: dict[str, dict[str, float]] = {name: {} for name in exported}
    for sizes in batches:
        inputs = {n: _some(random, spec, sizes, ids) for n, spec in saved_model.inputs.items()}
        expected = _outputs(model, inputs)
        for name, function in exported.items():
            compare(differences[name], f"{name}, {graph}", function(inputs), expected)
    return differences


def _some(random, spec, sizes, ids):
    """An array for an input, whose first axes of any size have these sizes; its integers are ids
    from the first of two on, and below the second."""
    sizes = iter(sizes)
    shape = [next(sizes, 1) if size is None else size for size in spec.shape]
    if spec.dtype.is_floating:
        return random.normal(size=shape).astype(spec.dtype.name)
    return random.integers(*ids, size=shape).astype(spec.dtype.name)


def _outputs(model, inputs):
    """What a model makes of arrays by name, as an export names it."""
    if hasattr(model, "input"):
        inputs = keras.tree.map_structure(lambda tensor: inputs[tensor.name], model.input)
    else:  # no graph of layers
        (inputs,) = inputs.values()
    outputs = model.predict_on_batch(inputs)
    if isinstance(outputs, dict):
        return outputs
    return {f"output_{i}": array for i, array in enumerate(keras.tree.flatten(outputs))}
