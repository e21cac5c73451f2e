"""Puts the model of a finished run into the zoo: python training/publish.py NAME

To `zoo/presets/NAME` go its weights, at half precision if its score stays, what the run left
(recipe, results, history), `about.json` with the scores of what is stored, and `card.md`; the row
of results goes to `training/results/<data set>.csv`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from training import card, environment, evaluate, inputs, recipe, results, translation
from training.data import corpora
from training.data.corpora import Corpus
from training.recipe import Data, Texts, UserError
from zoo import command_line, presets
from zoo.bundle import Bundle
from zoo.contract import Decodable
from zoo.decoding import Options
from zoo.tokenizers import UNK_ID

STAYS = {"nats": 1e-3, "bleu": 0.1}
"""How far a score of weights at half precision may be from the same of those that were trained."""

SAMPLED = Options(temperature=0.8, seed=0, max_tokens=200, suppress_ids=(UNK_ID,))


@dataclass(frozen=True)
class Arguments:
    """Puts the model of a finished run into the zoo."""

    name: Annotated[str, tyro.conf.Positional]
    """Name of the preset."""
    run: Path | None = None
    """Directory of the run; None for runs/NAME."""
    keep: bool = False
    """Score and describe again the preset that is there, and leave its weights as they are."""


def main(arguments: Arguments) -> None:
    """Publishes, and says what is there then."""
    environment.prepare()
    environment.configure()
    to = presets.DIRECTORY / arguments.name
    if arguments.keep:
        note(to, describe(to))
    else:
        publish(arguments.run or Path("runs") / arguments.name, to)
    size = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
    print(f"{to}: {presets.read(to).score}, {size / 1e6:.1f} MB")


def publish(run: Path, to: Path) -> None:
    """Saves the preset, and notes its scores in training/results.

    Raises:
        UserError: the run has not finished, was trained on other data than there is now, or on the
            user's own, or what is stored does not score as it did.
    """
    import zoo

    if not (run / "results.csv").is_file():
        raise UserError(f"{run} has no results.csv: let the run finish, or name another with --run")
    (row,) = results.read(run / "results.csv")
    if row["data"] not in corpora.list_corpora():
        raise UserError(
            f"{run} was trained on files of your own, and a card needs their source and licence: "
            "describe them in datasets/NAME/dataset.toml as those there, and train with --data NAME"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        draft = Path(folder) / to.name
        for float16 in (True, False):
            presets.save(zoo.load(run), draft, float16)
            results.put(draft / "results.csv", row)
            for name in ("recipe.toml", "history.csv"):
                if (run / name).is_file():
                    shutil.copy(run / name, draft)
            about = describe(draft)
            if stays(about, row):
                break
        else:
            raise UserError(f"what {run} saved does not score as it did: {about['scores']}")
        presets.replace(draft, to)
    note(to, about)


def note(preset: Path, about: dict[str, Any]) -> None:
    """Puts the row of a preset into training/results, with the scores of what is stored."""
    (row,) = results.read(preset / "results.csv")
    scores = {f"{about['part']}_{name}": value for name, value in about["scores"].items()}
    results.put(results.DIRECTORY / f"{row['data']}.csv", row | scores | about["signatures"])


def stays(about: dict[str, Any], row: dict[str, str]) -> bool:
    """Whether the scores of what is stored are those of the run."""
    before = {
        name: float(row[f"{about['part']}_{name}"]) for name in STAYS.keys() & about["scores"]
    }
    return all(abs(about["scores"][name] - old) <= STAYS[name] for name, old in before.items())


# === What is said of it ===


def describe(to: Path) -> dict[str, Any]:
    """Scores what is stored, and writes `about.json` and the card.

    Returns:
        What `about.json` says: `description`, `score` (for `zoo.list_presets()`), `weights` (their
        type on disk), `max_length`, `part` (of the data that was scored), `scores`, `signatures`
        (of BLEU and chrF), `by_length` (BLEU of greedy translations), `samples` and `slice`.
    """
    import zoo

    (row,) = results.read(to / "results.csv")
    texts = recipe.saved(to / "recipe.toml", Texts)
    window = recipe.saved(to / "recipe.toml", Data).window
    corpus, task = inputs.read(texts), zoo.load(to)
    if corpus.hash != row["data_sha256"]:
        raise UserError(f"{to} was trained on another {corpus.name} than the one that is here")
    part = corpus.scored
    data = corpora.describe(corpus.name, corpus.split)
    chosen = excerpt(corpus, part)
    about: dict[str, Any] = {
        "description": described(row, data),
        "score": "",  # below; it stands first
        "weights": presets.precision(to),
        "max_length": task.max_length,
        "part": part,
        "scores": likelihood(task, corpus, part, window),
        "signatures": {},
        "slice": {
            "documents": len(chosen),
            "texts": chosen if data.get("repackage", True) else None,
            **slice_scores(task, corpus.kind, chosen, window),
        },
    }
    if corpus.kind == "pairs":
        with exported(to) as model:
            about |= translated(model, corpus, part, about["scores"])
            about["samples"] = samples(model, data["examples"])
    else:
        about["samples"] = samples(task, data.get("examples", [""] * 5))
    about["score"] = headline(about, corpus)
    rounded = json.loads(json.dumps(about), parse_float=lambda digits: round(float(digits), 4))
    text = json.dumps(rounded, indent=1, ensure_ascii=False)
    (to / "about.json").write_text(text + "\n", encoding="utf-8")
    (to / card.NAME).write_text(card.render(to), encoding="utf-8")
    return rounded


def likelihood(task, corpus: Corpus, part: str, window: int) -> dict[str, float]:
    """The scores of a part, as training/evaluate.py gives them."""
    data = inputs.Inputs(corpus, task.tokenizer, task.source_tokenizer)
    planner = evaluate.exact(data, part, task.backbone.network, window)
    return evaluate.scorer(task.backbone, planner, data.characters(part))()


def translated(model: Decodable, corpus: Corpus, part: str, scores) -> dict[str, Any]:
    """The scores of greedy decoding and of a beam, and how they were found."""
    sources, references = ([pair[side] for pair in getattr(corpus, part)] for side in (0, 1))
    greedy = translation.outputs(model, sources)
    found = translation.quality(greedy, references)
    beam = translation.quality(translation.outputs(model, sources, translation.BEAM), references)
    bands = translation.by_length(sources, greedy, references, corpus.lowercase)
    names = ("signature", "signature_lowercase", "chrf_signature")
    return {
        "scores": {
            **scores,
            **found.scores,
            **{f"beam_5_{name}": value for name, value in beam.scores.items()},
        },
        "signatures": {name: getattr(found, name) for name in names},
        "by_length": [asdict(band) for band in bands],
    }


@contextlib.contextmanager
def exported(directory: Path) -> Iterator[Decodable]:
    """The same model as a bundle, which has been compared with it and translates far faster."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "bundle"
        command = [sys.executable, "export/run.py", str(directory), "--to", str(to)]
        environ = {**os.environ, "KERAS_BACKEND": "tensorflow"}
        subprocess.run(command, check=True, cwd=recipe.ROOT, env=environ)
        yield Bundle(to)


def samples(model: Any, beginnings: list[str]) -> list[tuple[str, str]]:
    """What a task or a bundle writes to each beginning, or makes of each source."""
    if model.source_tokenizer:
        return list(zip(beginnings, translation.outputs(model, beginnings)))
    return [
        (text, command_line.complete(model, [text], replace(SAMPLED, seed=seed))[0])
        for seed, text in enumerate(beginnings)
    ]


def described(row: dict[str, str], data: dict[str, Any]) -> str:
    """The model and its data in a line."""
    of = data.get("languages", row["tokenizer"].replace("_", "-"))
    size = f"{int(row['parameters']):,} parameters"
    return f"{card.title(row['architecture'])}, {size}: {data['title']}, {of}"


def headline(about: dict[str, Any], corpus: Corpus) -> str:
    """The score that a list of presets shows."""
    scores, where = about["scores"], about["part"]
    if corpus.split != next(iter(corpora.describe(corpus.name)["splits"])):
        where += f", {corpus.split}"
    if corpus.kind != "pairs":
        return f"{scores['nats']:.4f} nats ({where})"
    key, case = ("bleu_lowercase", "lower-cased ") if corpus.lowercase else ("bleu", "")
    return f"{scores[f'beam_5_{key}']:.1f} {case}BLEU ({where})"


# === A slice, for a test to score again ===

DOCUMENTS, CHARACTERS = 16, 1000


def excerpt(corpus: Corpus, part: str) -> list:
    """The first documents of a part, or the beginning of a long one."""
    documents = getattr(corpus, part)
    return [documents[0][:CHARACTERS]] if corpus.kind == "stream" else documents[:DOCUMENTS]


def slice_scores(task, kind: corpora.Kind, documents: list, window: int) -> dict[str, float]:
    """Nats a token of a few documents, and the BLEU of their greedy translations."""
    corpus = Corpus("slice", kind, [], [], documents)
    scores = {"nats": likelihood(task, corpus, "test", window)["nats"]}
    return scores | ({"bleu": translation.score(task, documents).bleu} if kind == "pairs" else {})


if __name__ == "__main__":
    with environment.one_line_errors():
        main(tyro.cli(Arguments))
