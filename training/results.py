"""What a run leaves for tables: one CSV row, and curves."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.data.splits import PARTS
from training.recipe import UserError

DIRECTORY = Path(__file__).parent / "results"
"""A CSV file for each data set."""

METRICS = ("nats", "perplexity", "bits_per_character", "top_1", "top_5")

COLUMNS = (
    *("run", "architecture", "backend", "data", "split", "data_sha256", "tokenizer"),
    *("vocabulary_size", "parameters", "seed", "epochs", "steps"),
    *(f"{part}_{metric}" for part in PARTS for metric in METRICS),
    *("seconds", "hardware", "date", "command"),
)
"""Of every row. `nats` is the mean negative log-likelihood of a token, each `<eos>` counted, of the
saved weights, as training/evaluate.py finds it; `seconds` are those of the epochs and of the
validation after each."""

OF_TRANSLATIONS = (
    *(f"{part}_{metric}" for part in PARTS for metric in ("bleu", "bleu_lowercase", "chrf")),
    *(f"test_beam_5_{metric}" for metric in ("bleu", "bleu_lowercase", "chrf")),
    "signature",
)
"""What a row of a translation model has besides, of greedy decoding, and as far as it has been
published of `training.translation.BEAM`. The signature is that which sacrebleu gives the BLEU;
in that of the lower-cased one is `case:lc`."""


def show(scores: dict[str, float]) -> str:
    """Scores in a line."""
    said = (
        f"{scores['nats']:.4f} nats a token, perplexity {scores['perplexity']:.2f}, "
        f"{scores['bits_per_character']:.3f} bits a character, "
        f"top-1 {scores['top_1']:.1%}, top-5 {scores['top_5']:.1%}"
    )
    names = {"BLEU": "bleu", "lower-cased": "bleu_lowercase", "chrF": "chrf"}
    return said + "".join(
        f", {name} {scores[key]:.2f}" for name, key in names.items() if key in scores
    )


def columns(translates: bool) -> tuple[str, ...]:
    """Of a row; a model that translates has more."""
    return (*COLUMNS, *OF_TRANSLATIONS) if translates else COLUMNS


def check(path: Path, columns: Sequence[str]) -> None:
    """Raises `UserError` for a file that has columns which no such row has."""
    if path.exists() and (others := set(_header(path)) - set(columns)):
        said = ", ".join(sorted(others))[:100]
        raise UserError(f"{path} has other columns than a row of results ({said}): name another")


def put(path: Path, row: dict[str, Any]) -> None:
    """Puts a row into a CSV file, in the place of an earlier one of the same run.

    Raises:
        UserError: the file has columns which no such row has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = columns(translates="signature" in row)
    check(path, names)
    rows: list[dict[str, Any]] = read(path) if path.exists() else []
    at = next((i for i, other in enumerate(rows) if other["run"] == row["run"]), len(rows))
    rows[at : at + 1] = [row | {"command": _WHERE.sub("", row["command"])}]
    write(path, [{name: _rounded(each.get(name, "")) for name in names} for each in rows])


_WHERE = re.compile(r" --(?:restart(?!\S)|(?:runs|results)[= ](?:'[^']*'|\S+))")
"""What of a command says only where things go, which makes no other model."""


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows of the same keys as CSV, under a temporary name first."""
    temporary = path.with_name(f"{path.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draws the training and the validation loss over the steps, and the learning rate, as PNG."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a screen

    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot(steps, [row["loss"] for row in rows], label="training")
    above.plot(steps, [row["val_nats"] for row in rows], label="validation")
    above.set_ylabel("nats a token")
    above.legend()
    below.plot(steps, [row["learning_rate"] for row in rows])
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    figure.savefig(path)
