"""Every recipe trains for a few steps on torch, and one of each architecture on every backend."""

import csv
import math
import tomllib

import keras
import pytest

from training import recipe, run
from training.data.corpora import describe

pytestmark = pytest.mark.slow

# Lines of one length, so that there is one shape to compile a program for.
TEXT = "".join(
    f"{a} and {b} make {c}\n" for a, b, c in zip("abcdefgh" * 5, "ijklm" * 8, "nopqr" * 8)
)

SAVED = {path.stem: recipe.load_recipe(path.stem) for path in sorted(recipe.RECIPES.glob("*.toml"))}
# Of each architecture the one with the fewest layers, which are what takes long to compile.
DEEPEST_FIRST = sorted(SAVED, key=lambda name: -SAVED[name]["model"].get("num_layers", 1))
OF_EACH = {SAVED[name]["model"]["architecture"]: name for name in DEEPEST_FIRST}.values()


@pytest.mark.parametrize(("name", "saved"), SAVED.items(), ids=list(SAVED))
def test_recipe_trains(name, saved, tmp_path):
    if keras.backend.backend() != "torch" and name not in OF_EACH:
        pytest.skip("torch trains every recipe: it compiles nothing")
    arguments = [
        "--recipe",
        name,
        "--runs",
        str(tmp_path),
        "--epochs",
        "1",
        "--steps-per-epoch",
        "2",
    ]
    # Samples and BLEU of each epoch are test_run.py's; decoding is much to compile on jax.
    arguments += ["--batch-size", "4", "--window", "8", "--samples", "0", "--monitor", "nats"]
    kind = describe(saved["data"])["kind"]
    text = "".join(f"{line}\t{line}\n" for line in TEXT.splitlines()) if kind == "pairs" else TEXT
    (tmp_path / "text.txt").write_text(text)
    data = ["--data", str(tmp_path / "text.txt"), "--split", "None", "--kind", kind]
    arguments += [*data, "--size", "None", "--vocabulary-size", "None", "--max-length", "None"]
    arguments += ["--batch-tokens", "None", "--tokenizer", "characters"]
    run.main(arguments)
    (row,) = csv.DictReader((tmp_path / name / "results.csv").open())
    assert row["architecture"] == saved["model"]["architecture"]
    assert 0 < float(row["test_nats"]) < 1e5
    assert (tmp_path / name / "preset" / "task.json").exists()
    if row["steps"] != "0":  # what counts has no history
        (history,) = csv.DictReader((tmp_path / name / "history.csv").open())
        assert math.isfinite(float(history["loss"]))
        assert tomllib.loads((tmp_path / name / "recipe.toml").read_text())["epochs"] == 1
