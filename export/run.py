"""Exports a preset, or the model of a training run, to a bundle for ONNX Runtime and TensorFlow.

python export/run.py lstm_names --to bundles/lstm_names
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Arguments:
    """Exports a preset, or the model of a run, to a bundle for ONNX Runtime and TensorFlow."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PRESET_OR_RUN")]
    """Name of a preset, or a directory: of a preset or of a run."""
    to: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Directory to write: new, or empty."""


def main(arguments: Arguments) -> None:
    """Exports, and says on standard output what is there."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the one that any export needs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from export.exporter import ExportError, export
    from zoo.quiet import quiet_imports

    with quiet_imports():
        import keras_hub  # noqa: F401

    try:
        manifest = export(arguments.model, arguments.to)
    except (ExportError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    size = sum(path.stat().st_size for path in arguments.to.rglob("*") if path.is_file())
    largest = max(manifest["verified"]["largest_differences"].values())
    print(
        f"{arguments.to}: {manifest['architecture']}, {size / 1e6:.1f} MB, "
        f"within {largest:.0e} of Keras, greedy texts equal"
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
