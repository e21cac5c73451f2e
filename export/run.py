"""Exports a preset, or the model of a training run, to a bundle for ONNX Runtime and TensorFlow.

python export/run.py lstm_names --to bundles/lstm_names
python export/run.py --check bundles/lstm_names
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Arguments:
    """Exports a preset, or the model of a run, to a bundle for ONNX Runtime and TensorFlow."""

    model: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="PRESET_OR_RUN")] = (
        None
    )
    """Name of a preset, or a directory: of a preset or of a run."""
    to: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory to write: new, or empty."""
    quantize: Literal["int8"] | None = None
    """Make the weights for ONNX Runtime integers of 8 bits."""
    max_loss: float = 0.02
    """How much worse the perplexity or BLEU on the test data may be then: 0.02 for 2 %."""
    check: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Verify a bundle that is there instead; this needs no Keras."""


def main(arguments: Arguments) -> None:
    """Exports or checks, and says on standard output what is there."""
    from export.verify import ExportError

    try:
        if arguments.check:
            from export.check import check

            print(f"{arguments.check}: {check(arguments.check)}")
        elif arguments.model and arguments.to:
            print(_export(arguments))
        else:
            raise ExportError("say what to export and --to where, or which bundle to --check")
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is missing: pip install 'sequence-zoo[export]'")
    except (ExportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _export(arguments):
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the one that any export needs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from export.exporter import export
    from zoo.quiet import quiet_imports

    with quiet_imports():
        import keras_hub  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()  # says at length that there is no GPU

    manifest = export(
        arguments.model,
        arguments.to,
        quantize=arguments.quantize,
        max_loss=arguments.max_loss,
    )
    size = sum(path.stat().st_size for path in arguments.to.rglob("*") if path.is_file())
    verification = manifest["verification"]
    largest = max(max(verification[name].values()) for name in ("onnx", "saved_model"))
    said = (
        f"{arguments.to}: {manifest['architecture']}, {size / 1e6:.1f} MB, "
        f"within {largest:.0e} of Keras, texts equal"
    )
    if lost := manifest["quantization"]:
        said += f"; int8 {lost['metric']} {lost['quantized']:.4f} for {lost['float32']:.4f}"
    return said


if __name__ == "__main__":
    main(tyro.cli(Arguments))
