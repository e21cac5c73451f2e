"""What quantization costs: the score of a bundle on the test data of its preset.

The data is the affair of `training`, which is not imported here: its program scores a bundle.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.verify import ExportError

_METRICS = ("bleu", "perplexity")
"""The first that a score has is the one that counts; more BLEU is better, more perplexity worse."""


def score(bundle: Path, preset: Any) -> dict:
    """`data`, which was read, and the scores of a bundle on it.

    Args:
        bundle: its directory.
        preset: whose test data it is.

    Raises:
        ExportError: there is no such data.
    """
    if preset is None:
        raise ExportError("only what a preset or a run was tested on can say what int8 costs")
    command = [sys.executable, "-P", "-m", "training.evaluate", str(preset)]
    command += ["--bundle", str(bundle), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        last = (ran.stderr.strip() or "it was killed").splitlines()[-1].removeprefix("error: ")
        raise ExportError(f"int8 cannot be measured: {last}")
    return json.loads(ran.stdout.splitlines()[-1])


def loss(method: str, before: dict, after: dict, max_loss: float) -> dict:
    """The section `quantization` of a manifest.

    Args:
        method: of quantization.
        before, after: what `score` gave for the bundle as it was, and as it is now.
        max_loss: part of the score that may be lost.

    Raises:
        ExportError: more is lost.
    """
    metric = next(name for name in _METRICS if name in before)
    old, new = before[metric], after[metric]
    lost = new / old - 1 if metric == "perplexity" else (old - new) / max(old, 1e-9)
    if not lost <= max_loss:  # nor NaN
        raise ExportError(
            f"{method} takes the {metric} from {old:.4f} to {new:.4f}, a loss of {lost:.2%} where "
            f"{max_loss:.2%} is the limit: raise --max-loss, or leave --quantize out"
        )
    return {
        "method": method,
        "data": before["data"],
        "metric": metric,
        "float32": old,
        "quantized": new,
        "loss": lost,
    }
