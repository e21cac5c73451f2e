"""Tables and pictures of results: python training/table.py CSV [--picture PNG]

Prints one line a run in Markdown, the best test score last, with the command that makes it.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from training import environment

SPLITS = ("reference", "makemore", "distinct", "whole")


@dataclass(frozen=True)
class Arguments:
    """Prints results as a table."""

    results: Annotated[Path, tyro.conf.Positional]
    """CSV file that runs have added their rows to (`--results`)."""
    picture: Path | None = None
    """A PNG to draw the scores in."""


def main(arguments: Arguments) -> None:
    """Prints the table, and draws the picture where one is asked for."""
    with arguments.results.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    print("| run | split | parameters | valid | test | minutes | command |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (SPLITS.index(row["split"]), -score(row))):
        print(
            f"| {row['run']} | {row['split']} | {int(row['parameters']):,} | {row['valid_nats']} "
            f"| {row['test_nats'] or row['train_nats']} | {float(row['seconds']) / 60:.1f} "
            f"| `{row['command']}` |"
        )
    if arguments.picture:
        draw(rows, arguments.picture)


def score(row: dict[str, str]) -> float:
    """Nats a token on the test part, or on all of it where nothing is held out."""
    return float(row["test_nats"] or row["train_nats"])


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draws a line a model, its size beside its name, with one mark a split at its score."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a screen

    models: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        name = f"{row['run'].split('_names')[0]}\n{int(row['parameters']):,} parameters"
        models.setdefault(name, []).append(row)
    names = sorted(models, key=lambda name: -min(map(score, models[name])))
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for split in SPLITS:
        chosen = [
            (score(row), name) for name in names for row in models[name] if row["split"] == split
        ]
        if chosen:
            scores, at = zip(*chosen)
            axes.plot(scores, [names.index(name) for name in at], "o", label=f"{split} split")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("nats a character, <eos> counted")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    with environment.one_line_errors():
        main(tyro.cli(Arguments))
