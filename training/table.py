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
    """A PNG to draw the scores in, against the number of parameters."""


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
    """Draws each architecture's score against its size, one mark a split."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a screen

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for split in SPLITS:
        chosen = [row for row in rows if row["split"] == split]
        if not chosen:
            continue
        axes.plot(
            [int(row["parameters"]) for row in chosen],
            [score(row) for row in chosen],
            "o",
            label=f"{split} split",
        )
        for row in chosen:
            axes.annotate(
                row["run"].split("_names")[0],
                (int(row["parameters"]), score(row)),
                textcoords="offset points",
                xytext=(6, 4),
                fontsize=8,
            )
    axes.set_xscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("nats a character, <eos> counted")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    with environment.one_line_errors():
        main(tyro.cli(Arguments))
