"""A recipe is a saved command line: one parser, the last word said counts, Keras is not needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from training import recipe
from training.recipe import RECIPES, UserError

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def wrong(capsys, *args) -> str:
    """What the parser says of arguments that are wrong."""
    with pytest.raises(SystemExit) as error:
        recipe.parse(list(args))
    assert error.value.code != 0
    return capsys.readouterr().err


def test_no_arguments_are_the_default_recipe():
    options = recipe.parse([])
    assert options.recipe == "lstm_python_reference"
    assert options.text.data == "python_reference"
    assert options.model.architecture == "lstm"


def test_the_command_line_comes_after_the_file(tmp_path):
    path = write(
        tmp_path,
        """
        epochs = 3
        deterministic = true
        fractions = [0.5, 0.25, 0.25]
        [model]
        architecture = "lstm"
        units = 7
        peephole = true
        [optimizer]
        learning_rate = 1e-4
        """,
    )
    options = recipe.parse(["--recipe", path])
    assert (options.epochs, options.deterministic, options.model.units) == (3, True, 7)
    assert options.text.fractions == (0.5, 0.25, 0.25)
    words = "--model.units 9 --model.no-peephole --optimizer.learning-rate=2 --no-deterministic"
    options = recipe.parse(["--recipe", path, *words.split(), "--data", "my.txt"])
    assert (options.epochs, options.deterministic, options.model.units) == (3, False, 9)
    assert options.model.peephole is False
    assert options.optimizer.learning_rate == 2.0
    assert options.text.data == "my.txt"


def test_the_model_table_is_the_constructor():
    model = recipe.parse(["--recipe", "bengio_names", "--model.normalization", "layer"]).model
    assert (model.context_size, model.normalization) == (3, "layer")
    assert isinstance(model.dropout, float)
    assert recipe.parse([]).model.embedding_dim == 64
    assert recipe.parse(["--model.embedding-dim", "None"]).model.embedding_dim is None
    assert not hasattr(model, "vocabulary_size")  # the tokenizer says it


def test_a_misspelt_name_is_an_error_with_the_nearest(capsys, tmp_path):
    assert "--model.units" in wrong(capsys, "--model.unitz", "3")
    assert "--optimizer.learning-rate" in wrong(capsys, "--optimizer.leaning-rate", "3")
    path = write(tmp_path, '[model]\narchitecture = "lstm"\nunitz = 3\n')
    assert "--model.units" in wrong(capsys, "--recipe", path)
    with pytest.raises(UserError, match="perhaps you meant lstm_names"):
        recipe.parse(["--recipe", "lstm_name"])


def test_a_wrong_value_is_an_error(capsys, tmp_path):
    assert "--epochs" in wrong(capsys, "--epochs", "few")
    assert "adagrad" in wrong(capsys, "--optimizer.name", "adagard")
    assert "transformer" in wrong(capsys, "--model.architecture", "transfomer")
    path = write(tmp_path, "epochs = 1.5\n[model]\narchitecture = 'lstm'")
    assert "--epochs" in wrong(capsys, "--recipe", path)
    with pytest.raises(UserError, match="is not TOML"):
        recipe.parse(["--recipe", write(tmp_path, "epochs =")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--batch-size 0", "--batch-size must be at least 1, not 0"),
        ("--window -3", "--window must be at least 1, not -3"),
        ("--epochs 0", "--epochs must be at least 1, not 0"),
        ("--keep 0", "--keep must be at least 1, not 0"),
        ("--samples -1", "--samples must be at least 0, not -1"),
        ("--seed -1", "--seed must be from 0 to 4294967295, not -1"),
        ("--label-smoothing 2", "--label-smoothing must be from 0 to 1, not 2.0"),
        ("--optimizer.learning-rate nan", "--optimizer.learning-rate must be at least 0, not nan"),
        ("--optimizer.clipnorm 0", "--optimizer.clipnorm must be at least 1e-12, not 0.0"),
        ("--schedule.factor 2", "--schedule.factor must be from 0 to 0.999, not 2.0"),
        ("--model.num-layers 0", "--model.num-layers must be at least 1, not 0"),
    ],
)
def test_a_number_out_of_its_range_is_one_line(words, said):
    with pytest.raises(UserError) as error:
        recipe.parse(words.split())
    assert str(error.value) == said


@pytest.mark.parametrize("name", NAMES)
def test_a_resolved_recipe_is_a_recipe(name, tmp_path):
    options = recipe.parse(["--recipe", name, "--seed", "5", "--name", "x"])
    resolved = recipe.dump(options)
    again = recipe.parse(["--recipe", write(tmp_path, resolved)])
    assert recipe.dump(again) == resolved
    assert again.text == options.text


def test_differences_name_the_key_and_both_values():
    one, two = (recipe.dump(recipe.parse(["--model.units", units])) for units in "37")
    assert recipe.differences(one, one) == []
    assert recipe.differences(one, two) == ["model.units: 3, 7"]


def test_help_needs_no_keras():
    code = "import sys; from training import recipe\n"
    code += "try: recipe.parse(['--help'])\nfinally: print('LOADED', *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    shown, loaded = ran.stdout.split("LOADED")
    assert "--model.units" in shown
    assert not {"keras", "jax", "torch", "tensorflow"} & set(loaded.split())
