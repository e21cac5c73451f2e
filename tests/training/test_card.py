"""Cards are made from the files of the preset, and those that are there are up to date."""

import json
import shutil

import pytest

from training import card, recipe, results
from zoo import presets

OWN = sorted(path.parent for path in presets.DIRECTORY.glob("*/task.json"))


@pytest.mark.parametrize("directory", OWN, ids=lambda path: path.name)
def test_the_cards_that_are_there_are_what_the_files_say(directory):
    written = (directory / card.NAME).read_text(encoding="utf-8")
    assert written == card.render(directory), f"run: python training/card.py {directory.name}"
    about = json.loads((directory / "about.json").read_text(encoding="utf-8"))
    assert presets.list_presets()[directory.name].score == about["score"]
    assert "/" not in results.read(directory / "results.csv")[0]["command"].replace(
        "training/run.py", ""
    )


def test_the_presets_are_small():
    size = {directory.name: _bytes(directory) for directory in OWN}
    assert max(size.values()) < 12e6
    assert sum(size.values()) < 100e6


def _bytes(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.fixture
def translator(tmp_path):
    """A preset of Multi30k as far as a card reads one."""
    directory = tmp_path / "vaswani_multi30k_de_en"
    directory.mkdir()
    (directory / "model.weights.h5").write_bytes(bytes(4_200_000))
    text = (recipe.RECIPES / "vaswani_multi30k_en_de.toml").read_text(encoding="utf-8")
    saved = text.replace('"en-de"', '"de-en"')
    (directory / "recipe.toml").write_text(saved, encoding="utf-8")
    row = dict.fromkeys(results.columns(translates=True), "1")
    row |= {"run": directory.name, "architecture": "vaswani", "tokenizer": "byte_pairs"}
    row |= {"data": "multi30k", "split": "de-en", "vocabulary_size": "6000", "test_bleu": "36.5"}
    row |= {"command": "KERAS_BACKEND=jax python training/run.py --runs /home/me/runs --recipe x"}
    results.put(directory / "results.csv", row)
    scores = dict.fromkeys(results.METRICS, 0.5)
    for prefix, bleu in (("", 36.45), ("beam_5_", 38.25)):
        found = {"bleu": bleu, "bleu_lowercase": bleu + 1, "chrf": 60.0}
        scores |= {prefix + name: value for name, value in found.items()}
    about = {
        "description": "The Transformer, 2 parameters: Multi30k, German to English",
        "weights": "float16",
        "max_length": None,
        "part": "test",
        "scores": scores,
        "signatures": {
            "signature": "case:mixed|v",
            "signature_lowercase": "case:lc|v",
            "chrf_signature": "nc:6",
        },
        "samples": [["Ein Hund.", "A dog."]],
    }
    (directory / "about.json").write_text(json.dumps(about), encoding="utf-8")
    return directory


def test_a_card_says_what_one_must_know(translator):
    said = card.render(translator)
    for words in (
        "# vaswani_multi30k_de_en",
        '"Attention Is All You Need", 2017',
        'model = zoo.load("vaswani_multi30k_de_en")',
        'python training/translate.py --preset vaswani_multi30k_de_en "Ein Hund."',
        "float16, 4,200 kB",
        "6,000 byte-pairs, one vocabulary for both sides",
        "non-commercial research and education",
        "**For research and education only**",
        "| greedy | 36.45 | 37.45 | 60.00 |",
        "| beam of 5, length penalty 0.6 | 38.25 | 39.25 | 60.00 |",
        "- lower-cased: `case:lc|v`",
        "leaves the score: as trained, 1.0000 nats, BLEU 36.50.",
        "KERAS_BACKEND=jax python training/run.py --recipe x\n",
        "German to English, and nothing else; names and words new to it come out wrong.",
        "| Ein Hund. | A dog. |",
    ):
        assert words in said, words


def test_a_card_is_written_anew_from_the_command_line(translator, tmp_path, monkeypatch, capsys):
    shutil.copy(translator / "recipe.toml", translator / "task.json")  # it is only looked for
    monkeypatch.chdir(tmp_path)
    card.main(card.Arguments((str(translator),)))
    assert (translator / card.NAME).read_text(encoding="utf-8") == card.render(translator)
    assert card.NAME in capsys.readouterr().out
