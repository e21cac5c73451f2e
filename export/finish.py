"""What makes a bundle of the graphs of a model: tokenizers, comparison, quantization, manifest."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime

from export import manifest, measure, weights
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


def check_tokenizer(model: keras.Model) -> None:
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
    model: keras.Model,
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
    can_decode = isinstance(model, Generator)
    if can_decode:
        _save_tokenizers(model, directory)
    manifest.write(directory, model, preset)
    verified = (_compare_decodable if can_decode else _compare_forward)(directory, model)
    sections = {
        "verification": {
            "backend": keras.config.backend(),
            "tolerance": TOLERANCE,
            "batches": BATCHES,
            **verified,
        }
    }
    if quantize:
        before = measure.score(directory, preset)
        weights.rewrite(directory, quantized)
        manifest.write(directory, model, preset, **sections)
        after = measure.score(directory, preset)
        sections["quantization"] = measure.loss(quantize, before, after, max_loss)
    return manifest.write(directory, model, preset, **sections)


def _save_tokenizers(model, directory):
    if model.preprocessor is None:
        return
    model.tokenizer.save(directory / "tokenizer.json")
    if model.source_tokenizer and model.source_tokenizer is not model.tokenizer:
        model.source_tokenizer.save(directory / "source_tokenizer.json")


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


def _compare_forward(directory, model):
    session = onnxruntime.InferenceSession(directory / "forward.onnx")
    saved_model = Forward(directory / "saved_model")
    names = list(saved_model.outputs)
    exported = {
        "onnx": lambda inputs: dict(zip(names, session.run(names, inputs))),
        "saved_model": saved_model,
    }
    random = np.random.default_rng(0)
    differences: dict[str, dict[str, float]] = {name: {} for name in exported}
    for sizes in BATCHES:
        inputs = {name: _some(random, spec, sizes) for name, spec in saved_model.inputs.items()}
        expected = _outputs(model, inputs)
        for name, function in exported.items():
            compare(differences[name], f"{name}, forward", function(inputs), expected)
    return differences


def _some(random, spec, sizes):
    """An array for an input, whose first axes of any size have these sizes."""
    sizes = iter(sizes)
    shape = [next(sizes, 1) if size is None else size for size in spec.shape]
    if spec.dtype.is_floating:
        return random.normal(size=shape).astype(spec.dtype.name)
    return random.integers(2, size=shape).astype(spec.dtype.name)  # in any vocabulary


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
