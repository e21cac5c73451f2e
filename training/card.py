"""The card of a preset, from the preset's own files: python training/card.py NAME

It has what the run left (recipe, results), what `training/publish.py` measured (`about.json`), what
the paper is called in the model's file and what the data set says of itself. Nothing is computed.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from training import environment, recipe, results
from training.data import corpora
from zoo import presets
from zoo.tokenizers import UNK_ID

NAME = "card.md"
TEMPLATE = Path(__file__).with_name("card.template.md")


@dataclass(frozen=True)
class Arguments:
    """Writes the cards of presets anew, where the template has changed."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of presets."""


def main(arguments: Arguments) -> None:
    """Writes the cards."""
    for name in arguments.names:
        directory = presets.find(name)
        (directory / NAME).write_text(render(directory), encoding="utf-8")
        print(directory / NAME)


def render(directory: Path) -> str:
    """The card of a preset as Markdown."""
    about = json.loads((directory / "about.json").read_text(encoding="utf-8"))
    (row,) = results.read(directory / "results.csv")
    saved = recipe.load_recipe(str(directory / "recipe.toml"))
    data = corpora.describe(row["data"], row["split"])
    _, paper = _documentation(row["architecture"])
    use = "translate" if data["kind"] == "pairs" else "generate"
    first = _shell(about["samples"][0][0])
    return TEMPLATE.read_text(encoding="utf-8").format(
        name=directory.name,
        summary=f"{about['description']}.",
        paper=paper,
        use=f"python training/{use}.py --preset {directory.name}{first}",
        facts=_facts(directory, about, row, saved),
        data=_data(data, row),
        scores=_scores(directory.name, about, row),
        training=_training(row),
        limits=_limits(about, row, saved, data),
        samples=_samples(about["samples"], data["kind"]),
    )


def title(architecture: str) -> str:
    """What the file of a model calls it in its first line."""
    return _documentation(architecture)[0].split(":")[0].rstrip(".")


def _documentation(architecture: str) -> tuple[str, str]:
    """The first two paragraphs of a model's file: what it is, and the paper."""
    path = recipe.ARCHITECTURES[architecture].split(":")[0].replace(".", "/")
    tree = ast.parse((recipe.ROOT / f"{path}.py").read_text(encoding="utf-8"))
    what, paper, *_ = (ast.get_docstring(tree) or "").split("\n\n")
    paper = paper.split("Options from:")[0]  # those are not what each model uses
    return " ".join(what.split()), " ".join(paper.split())


def _shell(text: str) -> str:
    return f' "{text}"' if text else ""


# === Sections ===


def _facts(directory, about, row, saved) -> str:
    settings = {k: v for k, v in saved["model"].items() if k != "architecture"}
    size = (directory / "model.weights.h5").stat().st_size
    lines = {
        "architecture": f"`{recipe.ARCHITECTURES[row['architecture']].replace(':', '.')}`",
        "settings": ", ".join(f"`{name}` {value}" for name, value in settings.items()) or "none",
        "parameters": f"{int(row['parameters']):,}",
        "weights": f"{about['weights']}, {size / 1000:,.0f} kB",
        "tokens": _tokens(row, saved),
    }
    return "\n".join(f"| {name} | {value} |" for name, value in lines.items())


def _tokens(row, saved) -> str:
    joint = ", one vocabulary for both sides" if saved.get("joint_vocabulary") else ""
    return f"{int(row['vocabulary_size']):,} {row['tokenizer'].replace('_', '-')}{joint}"


def _data(data, row) -> str:
    said = [
        f"{data['title']}. {data['description']}",
        f"`{row['data']}`, split `{row['split']}`, sha256 of the texts `{row['data_sha256']}`.",
        f"Licence of the data: {data['licence']}. Attribution: {data['attribution']}.",
    ]
    if not data.get("repackage", True):
        said.append("**For research and education only**, as the data that it was trained on.")
    return "\n\n".join(said)


def _scores(name: str, about: dict[str, Any], row) -> str:
    found, part = about["scores"], about["part"]
    lines = [
        f"Of the {part} part, each `<eos>` counted, as the weights are stored: "
        f"{results.show({k: v for k, v in found.items() if k in results.METRICS})}."
    ]
    if "bleu" in found:
        lines.append(
            f"BLEU and chrF by sacreBLEU:\n\n| | BLEU | lower-cased | chrF |\n|---|---|---|---|\n"
            f"| greedy | {_three(found, '')} |\n"
            f"| beam of 5, length penalty 0.6 | {_three(found, 'beam_5_')} |"
        )
        lines.append(
            "\n".join(
                f"- {of}: `{about['signatures'][key]}`"
                for of, key in {
                    "BLEU": "signature",
                    "lower-cased": "signature_lowercase",
                    "chrF": "chrf_signature",
                }.items()
            )
        )
    command = f"python training/evaluate.py {name}"
    command += " --beam-size 5 --length-penalty 0.6" if "bleu" in found else ""
    trained = [f"{float(row[f'{part}_nats']):.4f} nats"]
    trained += [f"BLEU {float(row[f'{part}_bleu']):.2f}"] if "bleu" in found else []
    stored = {
        "float16": f"Half precision on disk leaves the score: as trained, {', '.join(trained)}.",
        "float32": "The weights are kept whole, since half precision changes the score.",
    }[about["weights"]]
    lines.append(f"`{command}` gives them. {stored}")
    return "\n\n".join(lines)


def _three(found, prefix: str) -> str:
    names = ("bleu", "bleu_lowercase", "chrf")
    return " | ".join(f"{found[prefix + name]:.2f}" for name in names)


def _training(row) -> str:
    how = (
        f"{float(row['seconds']) / 60:.0f} minutes on {row['hardware']} ({row['backend']}), "
        f"{int(row['epochs']):,} epochs, {int(row['steps']):,} steps, seed {row['seed']}"
    )
    if row["steps"] == "0":
        how = "Counted in one pass"
    return (
        f"{how}, {row['date']}:\n\n```sh\n{row['command']}\n```\n\n"
        "All settings are in `recipe.toml`, the row of results in `results.csv`."
    )


def _limits(about, row, saved, data) -> str:
    unknown = (
        "A word that is not among its tokens is `<unk>`, in the scores too; "
        f"`--suppress-ids {UNK_ID}` leaves it out of what is written, as in the samples."
    )
    spelled = {
        "characters": "A character that is not among its tokens is `<unk>`.",
        "words": unknown,
        "whitespace": unknown,
        "byte_pairs": "Its tokens can spell any text, which says nothing of how well it knows it.",
    }[row["tokenizer"]]
    longest = about["max_length"]
    bounded = f"A text has at most {longest} tokens." if longest else "A text may have any length"
    if not longest:
        bounded += (
            f"; in training it was seen in windows of {saved['window']} tokens."
            if data["kind"] == "stream"
            else ", and those that it was trained on are short."
        )
    knows = (
        f"{data['languages']}, and nothing else; names and words new to it come out wrong."
        if data["kind"] == "pairs"
        else "It knows its data and nothing else, and repeats what stands there."
    )
    return "\n".join(f"- {line}" for line in (knows, spelled, bounded))


def _samples(samples: list[list[str]], kind: str) -> str:
    if kind == "pairs":
        lines = "\n".join(f"| {source} | {target} |" for source, target in samples)
        said = "Greedy, as the command above gives them."
        return f"{said}\n\n| source | translation |\n|---|---|\n{lines}"
    texts = ("\n" if kind == "lines" else "\n```\n\n```text\n").join(text for _, text in samples)
    return f"Drawn at temperature 0.8.\n\n```text\n{texts}\n```"


if __name__ == "__main__":
    with environment.one_line_errors():
        main(tyro.cli(Arguments))
