"""Compares the models of a data set: python training/compare.py --dataset names

Takes the rows of training/results and of the finished runs, your own where there are two trainings
of one name. Prints a table, the best last, and draws scores against parameters and training time,
the validation loss of each epoch, and for translations BLEU by the length of the source, as a PNG
and as a page that needs no other file.
"""

import difflib
import functools
import html
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training import command_line, inputs, recipe, results, translation
from training.data import corpora
from training.recipe import Texts, UserError
from zoo import presets

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Compares the models of a data set."""

    dataset: str
    """Name of the data set, alone or with a split (multi30k_de_en), or what was given as --data."""
    split: str | None = None
    """The split whose models are compared; None for those of all."""
    tokenizer: str | None = None
    """The tokens of the models that are compared (words); None for those of all, which differ in
    what they do not spell."""
    runs: Path = Path("runs")
    """Folder of the run directories."""
    lengths: tuple[str, ...] = ()
    """For BLEU by length: the splits whose test parts are translated; none for each run's own."""
    to: Path = Path("comparison")
    """The PNG and the page to write, without the ends of their names."""


def main(arguments: Arguments) -> None:
    """Prints the table, and writes the picture and the page."""
    rows = read_rows(arguments.dataset, arguments.runs)
    asked = {"split": arguments.split, "tokenizer": arguments.tokenizer}
    wanted = {name: value for name, value in asked.items() if value}
    rows = [row for row in rows if wanted.items() <= row.items()]
    if not rows:
        of_these = "".join(f", {name} {value}" for name, value in wanted.items())
        near = difflib.get_close_matches(arguments.dataset, corpora.list_corpora(), n=1)
        meant = f" (perhaps you meant {near[0]})" if near else ""
        raise UserError(
            f"no results of {arguments.dataset}{of_these}{meant}: train on it, or name the folder "
            "of the runs with --runs"
        )
    header, *cells = table(rows)
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for *line, command in cells:
        print(f"| {' | '.join(line)} | `{command}` |", flush=True)
    found = {row["run"]: directory(row, arguments.runs) for row in rows}
    runs = {name: path for name, path in found.items() if path}
    curves = {name: results.read(path / "history.csv") for name, path in runs.items()}
    lengths = {}
    if "bleu" in metric(rows):
        lengths = {name: bands(path, arguments.lengths) for name, path in runs.items()}
        for name, of_lengths in lengths.items():
            said = (f"{band.first} to {band.last}: {band.bleu:.1f}" for band in of_lengths)
            print(f"{name}: {LABELS[metric(rows)]} by words of the source: {', '.join(said)}")
    figure = draw(rows, curves, lengths)
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    picture, written = (
        arguments.to.with_name(arguments.to.name + end) for end in (".png", ".html")
    )
    figure.savefig(picture, dpi=120)
    written.write_text(page(arguments.dataset, [header, *cells], figure), encoding="utf-8")
    print(f"{picture}, {written}")


# === What there is ===


def read_rows(dataset: str, runs: Path) -> list[Row]:
    """The row of each run on a data set, the best last."""
    noted = [row for path in sorted(results.DIRECTORY.glob("*.csv")) for row in results.read(path)]
    rows = {row["run"]: row for row in noted}
    for path in sorted(runs.glob("*/results.csv")):
        (row,) = results.read(path)
        if not same_training(row, rows.get(row["run"])):  # what was noted may have more scores
            rows[row["run"]] = row
    chosen = [row for row in rows.values() if is_of(row, dataset)]
    name = metric(chosen)
    sign = 1 if "bleu" in name else -1
    return sorted(chosen, key=lambda row: (row["split"], sign * score(row, name)))


def is_of(row: Row, dataset: str) -> bool:
    """Whether a data set, alone or with a split, is that of a row."""
    names = row["data"], f"{row['data']}_{row['split']}"
    return dataset.replace("-", "_") in [name.replace("-", "_") for name in names]


def same_training(row: Row, other: Row | None) -> bool:
    """Whether two rows of one name are of one training."""
    return other is not None and all(row[key] == other[key] for key in ("date", "seconds", "steps"))


def directory(row: Row, runs: Path) -> Path | None:
    """Where the history of a training is: in the preset that was made of it, or in its run."""
    for path in (presets.DIRECTORY / row["run"], runs / row["run"]):
        if all((path / name).is_file() for name in ("history.csv", "results.csv")):
            (found,) = results.read(path / "results.csv")
            if same_training(found, row):
                return path
    return None


def metric(rows: list[Row]) -> str:
    """What compares these models: nats a token only where their tokens are the same."""
    if rows and "signature" in rows[0]:
        lowercase = all(row.get("test_bleu_lowercase") and _lowercase(row) for row in rows)
        return "bleu_lowercase" if lowercase else "bleu"
    same = len({(row["tokenizer"], row["vocabulary_size"]) for row in rows}) == 1
    return "nats" if same else "bits_per_character"


def _lowercase(row: Row) -> bool:
    named = row["data"] in corpora.list_corpora()
    return named and corpora.describe(row["data"], row["split"]).get("lowercase", False)


def scored(row: Row, name: str) -> str:
    """The part whose score counts: the test part, or the next best that there is; "" for none."""
    return next((part for part in reversed(results.PARTS) if row.get(f"{part}_{name}")), "")


def score(row: Row, name: str) -> float:
    """The score that counts, of `scored`'s part; NaN where there is none."""
    return float(row.get(f"{scored(row, name)}_{name}") or "nan")


def table(rows: list[Row]) -> list[list[str]]:
    """The lines of a table, the names of its columns first."""
    bleu = ("bleu", "bleu_lowercase", "beam_5_bleu", "beam_5_bleu_lowercase", "chrf", "perplexity")
    metrics = {
        "nats": ("nats", "perplexity"),
        "bits_per_character": ("nats", "perplexity", "bits_per_character"),
    }.get(metric(rows), bleu)
    metrics = tuple(name for name in metrics if not all(math.isnan(score(r, name)) for r in rows))
    of_metrics = [f"test {name.replace('_', ' ')}" for name in metrics]
    lines = [["run", "split", "parameters", *of_metrics, "minutes", "command"]]
    for row in rows:
        scores = [_shown(row, name) for name in metrics]
        minutes = f"{float(row['seconds']) / 60:.1f}"
        about = [row["run"], row["split"], f"{int(row['parameters']):,}"]
        lines.append([*about, *scores, minutes, row["command"]])
    return lines


def _shown(row: Row, name: str) -> str:
    part, digits = scored(row, name), 2 if "bleu" in name or name == "chrf" else 4
    other = f" ({part})" if part != "test" else ""
    return f"{score(row, name):.{digits}f}{other}" if part else ""


def bands(run: Path, splits: Sequence[str]) -> list[translation.Band]:
    """BLEU by the length of the source, of greedy translations of test parts.

    Args:
        run: directory of a run or of a preset.
        splits: whose test parts; none for that of the run itself, which a preset knows.
    """
    import zoo

    published = run / "about.json"
    if not splits and published.is_file():
        about = json.loads(published.read_text(encoding="utf-8"))
        return [translation.Band(**band) for band in about["by_length"]]
    texts = recipe.saved(run / "recipe.toml", Texts)
    corpora_read = [_read_corpus(replace(texts, split=split)) for split in splits]
    corpora_read = corpora_read or [_read_corpus(texts)]
    sources, references = zip(*(pair for corpus in corpora_read for pair in corpus.test))
    outputs = translation.outputs(zoo.load(run), sources)
    return translation.by_length(sources, outputs, references, corpora_read[0].lowercase)


_read_corpus = functools.cache(inputs.read)  # the same for many models; some take a while


# === Pictures ===

LABELS = {
    "bleu": "BLEU",
    "bleu_lowercase": "lower-cased BLEU",
    "nats": "nats a token",
    "bits_per_character": "bits a character",
}


def draw(rows: list[Row], curves: dict[str, list[Row]], lengths: dict[str, list]):
    """One figure of all that there is to see, a colour a model."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # not pyplot, which looks for a screen

    panels = 2 + bool(curves) + bool(lengths)
    figure = Figure(figsize=(5 * panels, 5) if panels < 4 else (12, 9), layout="constrained")
    axes = list(figure.subplots(*((1, panels) if panels < 4 else (2, 2))).flat)
    palette = colormaps["tab10" if len(rows) <= 10 else "tab20"]
    colors = {row["run"]: palette(i % palette.N) for i, row in enumerate(rows)}
    draw_scores(axes[0], rows, colors, "parameters", 1)
    draw_scores(axes[1], rows, colors, "seconds", 60)
    axes[0].set_xlabel("parameters")
    axes[1].set_xlabel("minutes of training")
    if curves:
        loss = "bits_per_character" if metric(rows) == "bits_per_character" else "nats"
        for name, history in curves.items():
            steps, values = (
                [float(row[key]) for row in history] for key in ("step", f"val_{loss}")
            )
            axes[2].plot(steps, values, color=colors[name])
        axes[2].set(xlabel="steps", ylabel=f"{LABELS[loss]}, validation")
    if lengths:
        translation.draw_by_length(axes[3], lengths, colors)
        axes[3].set_ylabel(axes[0].get_ylabel())
    for panel in axes:
        panel.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def draw_scores(axes, rows: list[Row], colors: dict[str, Any], column: str, unit: float) -> None:
    """A mark a model."""
    from matplotlib.ticker import EngFormatter

    name = metric(rows)
    values = [float(row[column]) / unit for row in rows]
    for row, value in zip(rows, values):
        place, part = (value, score(row, name)), scored(row, name)
        label = row["run"] if part == "test" else f"{row['run']} ({part})"
        axes.plot(*place, "o", markersize=9, color=colors[row["run"]], label=label)
    parts = {scored(row, name) for row in rows}
    axes.set_ylabel(f"{LABELS[name]}, {'test' if len(parts) > 1 else parts.pop()}")
    if max(values) > 10 * min(values):
        axes.set_xscale("symlog" if min(values) < 1 else "log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # after the scale, which brings its own


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; }}
body {{ padding: 0 1rem; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #8888; }}
svg {{ max-width: 100%; height: auto; background: white; }}
</style>
<h1>{title}</h1>
<div><table><thead>{head}</thead><tbody>{body}</tbody></table></div>
<figure role="img" aria-label="The scores of the table, drawn">{picture}</figure>
</html>
"""


def page(dataset: str, lines: list[list[str]], figure) -> str:
    """The table and the picture as one HTML file."""
    svg = io.StringIO()
    figure.savefig(svg, format="svg")

    def row(cells, tag):
        inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    return PAGE.format(
        title=html.escape(f"Models of {dataset}"),
        head=row(lines[0], "th"),
        body="".join(row(cells, "td") for cells in lines[1:]),
        picture="".join(svg.getvalue().partition("<svg")[1:]),  # without the XML declaration
    )


if __name__ == "__main__":
    command_line.run(main, Arguments)
