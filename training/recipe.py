"""A recipe: everything that a training run can be told, and where it may be said.

A recipe file is a saved command line. Its keys become arguments that stand before the user's, so
that one parser checks both, takes the last word said, and suggests the nearest name for a misspelt
one. Nothing here imports Keras: a mistake is found, and `--help` is shown, at once.
"""

import argparse
import ast
import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w
import tyro

from zoo.command_line import UserError as UserError
from zoo.tokenizers import MODES

RECIPES = Path(__file__).parent / "recipes"
ROOT = Path(__file__).parents[1]

ARCHITECTURES = {
    "bahdanau": "zoo.models.bahdanau:BahdanauEncoderDecoder",
    "bengio": "zoo.models.bengio:BengioLanguageModel",
    "bigram": "zoo.models.bigram:BigramNetwork",
    "bigram_counts": "zoo.models.bigram:BigramCounts",
    "cho": "zoo.models.cho:ChoEncoderDecoder",
    "elman": "zoo.models.elman:ElmanLanguageModel",
    "gru": "zoo.models.gru:GRULanguageModel",
    "lstm": "zoo.models.lstm:LSTMLanguageModel",
    "luong": "zoo.models.luong:LuongEncoderDecoder",
    "sutskever": "zoo.models.sutskever:SutskeverEncoderDecoder",
    "transformer": "zoo.models.transformer:TransformerLanguageModel",
    "vaswani": "zoo.models.vaswani:VaswaniEncoderDecoder",
}
"""What `[model] architecture` may be: module and class of each `zoo.backbone.Network`."""


def bounded(default: Any, least: float, most: float = math.inf) -> Any:
    """A field whose value, where it is not None, is `least` at least and `most` at most."""
    return field(default=default, metadata={"bounds": (least, most)})


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What to read."""

    data: str = "python_reference"
    """A data set's name, or a text file, a .gz of one, or a folder of them."""
    target: str | None = None
    """A file with the translation of each line of --data."""
    train: tuple[str, ...] = ()
    """Files to train on, instead of --data; pairs are in one or in two, sources and targets."""
    valid: tuple[str, ...] = ()
    """Files to validate on, with --train."""
    test: tuple[str, ...] = ()
    """Files to test on, with --train."""
    split: str | None = None
    """Which split of a data set that has several; None for its first."""
    size: int | None = bounded(None, 1)
    """Training sentences of a data set that is generated; None for as many as it says."""
    kind: Literal["stream", "lines", "pairs"] | None = None
    """Whether a user's text is one long text, a text a line, or in each line a text, a tab and its
    translation; None for one long text."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of a user's text to train, validate and test on."""


@dataclass(frozen=True, kw_only=True)
class Data(Texts):
    """What to read, and how it is cut into tokens and batches."""

    tokenizer: Literal[MODES] = "characters"  # type: ignore[valid-type]
    """How a text is cut into tokens."""
    vocabulary_size: int | None = bounded(None, 3)
    """The most tokens, special ones included; None for all."""
    source_vocabulary_size: int | None = bounded(None, 3)
    """The same for the source of a translation; None for as many as the target may have."""
    joint_vocabulary: bool = False
    """One vocabulary for the source and the target of a translation, taken from both."""
    batch_size: int = bounded(32, 1)
    """Rows a step."""
    batch_tokens: int | None = bounded(None, 1)
    """Tokens a step, padding included, instead of --batch-size; for texts in rows of their own."""
    max_length: int | None = bounded(None, 1)
    """Longer texts are left out of training; for texts in rows of their own."""
    buckets: int = bounded(4, 1)
    """Lengths that texts in rows of their own are padded to, and batched by. 1 for batches that are
    fair samples, which few texts, and batch normalization, need."""
    window: int = bounded(64, 1)
    """Tokens of a long text in a row of a batch."""
    crops: Literal["carried", "shuffled", "random"] | None = None
    """How windows follow one another: each row goes on in the text and carries the state along
    (truncated back-propagation); every window once a pass; windows from anywhere. None: carried,
    if the state of the model has a fixed size."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How the weights change. Names are those of Keras's optimizers; None leaves Keras's value."""

    name: Literal["adam", "adamw", "adagrad", "sgd"] = "adam"
    learning_rate: float = bounded(1e-3, 0)
    weight_decay: float | None = bounded(None, 0)
    """Of matrices only, not of biases and gains."""
    momentum: float | None = bounded(None, 0, 1)
    beta_1: float | None = bounded(None, 0, 1)
    beta_2: float | None = bounded(None, 0, 1)
    epsilon: float | None = bounded(None, 0)
    initial_accumulator_value: float | None = bounded(None, 0)
    clipvalue: float | None = bounded(None, 1e-12)
    """Largest element of a gradient."""
    clipnorm: float | None = bounded(None, 1e-12)
    """Largest norm of the gradient of each weight."""
    global_clipnorm: float | None = bounded(None, 1e-12)
    """Largest norm of all gradients together."""
    gradient_accumulation_steps: int | None = bounded(None, 2)
    """Steps whose gradients are averaged for one update."""
    ema_momentum: float | None = bounded(None, 0, 1)
    """Keep an exponential moving average of the weights, and evaluate and save that."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate changes; a step is a batch."""

    name: Literal["constant", "inverse_sqrt", "cosine", "plateau"] = "constant"
    """inverse_sqrt: as Vaswani et al. (2017) have it; plateau: less when validation stays put."""
    warmup_steps: int = bounded(0, 0)
    """Steps of linear growth to the learning rate; not for plateau."""
    cooldown_steps: int = bounded(0, 0)
    """The last so many steps of the training, in which the rate falls to 0; not for plateau."""
    final_fraction: float = bounded(0.0, 0, 1)
    """Share of the learning rate that cosine ends with."""
    factor: float = bounded(0.5, 0, 0.999)
    """What plateau multiplies with."""
    patience: int = bounded(1, 0)
    """Epochs without improvement that plateau waits for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything but the model, whose options depend on the architecture."""

    recipe: str = "lstm_python_reference"
    """Name of a recipe in training/recipes, or path of a .toml."""
    name: str | None = None
    """Name of the run; None for the recipe's."""
    runs: Path = Path("runs")
    """Folder of the run directories. The same command run again goes on where it stopped."""
    restart: bool = False
    """Begin anew where the run directory has a run already, and lose that."""
    epochs: int = bounded(10, 1)
    """An epoch ends with validation and a checkpoint."""
    steps_per_epoch: int | None = bounded(None, 1)
    """Steps an epoch; None for one pass over the data."""
    seed: int = bounded(0, 0, 2**32 - 1)
    """Of the weights, of dropout and of the order of the data."""
    text: tyro.conf.OmitArgPrefixes[Data] = field(default_factory=Data)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    label_smoothing: float = bounded(0.0, 0, 1)
    """Share of the target's probability that is spread over the vocabulary in training."""
    monitor: Literal["nats", "bleu"] = "nats"
    """What an epoch is judged by; bleu: of greedy translations of the validation part."""
    bleu_sentences: int = bounded(1000, 1)
    """The most sentences that it is of."""
    early_stopping: int | None = bounded(None, 0)
    """Stop after so many epochs without a better validation."""
    keep: int = bounded(1, 1)
    """How many of the best epochs' weights to keep."""
    keep_last: bool = False
    """Keep those of the last epochs instead."""
    average: bool = False
    """Save the mean of the kept weights instead of the best."""
    dtype: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras's dtype policy."""
    distribution: Literal["none", "data"] = "none"
    """data: each step's batch is shared among all devices, on jax of all hosts too."""
    deterministic: bool = False
    """The same weights to the last bit each time: one thread, and no operation that varies."""
    samples: int = bounded(3, 0)
    """Texts to generate after each epoch."""
    prompt: str = ""
    """What they begin with; for a translation, the source."""
    sample_length: int = bounded(64, 1)
    """Their largest number of tokens."""
    tensorboard: bool = False
    """Write logs for TensorBoard."""
    results: Path | None = None
    """A CSV file to append the row of results to, besides that of the run."""


_MAY_CHANGE = ("epochs", "samples", "prompt", "sample_length", "tensorboard", "distribution")
_NOT_SAVED = ("recipe", "name", "runs", "restart", "results")


def parse(args: list[str]) -> Any:
    """Recipe and command line -> `Options` with a field more: `model`, its constructor's keywords.

    Raises:
        UserError: there is no such recipe, it is not TOML, or a number is out of its range.
        SystemExit: after `--help`, and after an argument that is wrong, which has been explained.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=Options.recipe)
    saved = _flatten(load_recipe(first.parse_known_args(args)[0].recipe))
    first.add_argument("--model.architecture", dest="architecture", default="lstm")
    architecture = first.parse_known_args([*saved, *args])[0].architecture
    model = _model_options(architecture if architecture in ARCHITECTURES else "lstm")
    recipe = dataclasses.make_dataclass(
        "Recipe", [("model", model)], bases=(Options,), frozen=True, kw_only=True
    )
    options = tyro.cli(
        recipe,
        args=[*saved, *args],
        description="Trains a model. The values shown are those for what a recipe does not set.",
        config=(tyro.conf.HelptextFromCommentsOff,),
    )
    _check_bounds(options)
    return options


def load_recipe(name: str) -> dict[str, Any]:
    """The content of a recipe, by its name in `training/recipes` or by its path."""
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        names = sorted(path.stem for path in RECIPES.glob("*.toml"))
        near = difflib.get_close_matches(name, names, n=1) or [", ".join(names)]
        raise UserError(f"there is no recipe {name}; perhaps you meant {near[0]}") from None
    except ValueError as error:  # bytes that are no UTF-8 are one too
        raise UserError(f"{path} is not TOML: {error}") from None


def _check_bounds(options: Any, prefix: str = "--") -> None:
    """Raises `UserError` for a number that nothing could be trained with."""
    for item in dataclasses.fields(options):
        value = getattr(options, item.name)
        if dataclasses.is_dataclass(value):
            _check_bounds(value, prefix if item.name == "text" else f"{prefix}{item.name}.")
        elif "bounds" in item.metadata and value is not None:
            least, most = item.metadata["bounds"]
            if not least <= value <= most:
                name = prefix + item.name.replace("_", "-")
                wanted = f"at least {least}" if most == math.inf else f"from {least} to {most}"
                raise UserError(f"{name} must be {wanted}, not {value}")


def dump(recipe: Any) -> str:
    """The resolved recipe as TOML, every value in it; a recipe itself."""
    table = {
        key: value
        for key, value in dataclasses.asdict(recipe).items()
        if key not in _NOT_SAVED and key != "text"
    }
    return tomli_w.dumps(_without_none({**dataclasses.asdict(recipe.text), **table}))


def saved(path: Path, kind: type) -> Any:
    """What a resolved recipe says of the fields of `kind`, which is `Texts` or `Data`."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    names = {item.name for item in dataclasses.fields(kind)} & table.keys()
    values = {name: table[name] for name in names}
    return kind(**{n: tuple(x) if isinstance(x, list) else x for n, x in values.items()})


def differences(recipe: str, other: str) -> list[str]:
    """What two resolved recipes disagree on, as `key: value, value`.

    Left out is what a run may go on with another value of: to train for longer is to go on too.
    """
    tables = [_dotted(tomllib.loads(text)) for text in (recipe, other)]
    keys = sorted((tables[0].keys() | tables[1].keys()) - set(_MAY_CHANGE))
    pairs = ((key, tables[0].get(key), tables[1].get(key)) for key in keys)
    return [f"{key}: {a}, {b}" for key, a, b in pairs if a != b]


def _flatten(table: dict[str, Any]) -> list[str]:
    arguments = []
    for key, value in _dotted(table).items():
        *tables, name = key.replace("_", "-").split(".")
        prefix = "--" + "".join(f"{table}." for table in tables)
        if isinstance(value, bool):
            arguments.append(f"{prefix}{'' if value else 'no-'}{name}")
        elif isinstance(value, list):
            arguments += [f"{prefix}{name}", *map(str, value)]
        else:
            arguments.append(f"{prefix}{name}={value}")
    return arguments


def _dotted(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in table.items():
        flat |= (
            _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


# === The model's options, read from its constructor ===

_FROM_TOKENIZERS = ("vocabulary_size", "source_vocabulary_size")


def _model_options(architecture: str) -> type:
    """A dataclass of the constructor's arguments, types taken from the defaults, help from `Args:`.

    The source is parsed and not run, since importing it would import Keras.
    """
    module, name = ARCHITECTURES[architecture].split(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    cls = _find(tree.body, ast.ClassDef, name)
    arguments = _find(cls.body, ast.FunctionDef, "__init__").args
    required = [dataclasses.MISSING] * (len(arguments.args) - len(arguments.defaults))
    defaults = required + [ast.literal_eval(default) for default in arguments.defaults]
    fields = [
        (argument.arg, _type(default), _field(default))
        for argument, default in list(zip(arguments.args, defaults))[1:]
        if argument.arg not in _FROM_TOKENIZERS
    ]
    choice = Literal[tuple(ARCHITECTURES)]  # type: ignore[valid-type]
    model = dataclasses.make_dataclass(
        "Model", [("architecture", choice), *fields], frozen=True, kw_only=True
    )
    about = ast.get_docstring(cls) or ""
    model.__doc__ = about.split("\n")[0] + "\n\n" + about[about.find("Args:") :]
    return model


def _find(nodes: list[Any], kind: type, name: str) -> Any:
    return next(n for n in nodes if isinstance(n, kind) and getattr(n, "name", None) == name)


def _field(default: Any) -> Any:
    return bounded(default, 1) if type(default) is int else field(default=default)


def _type(default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple[type(default[0]), ...]  # type: ignore[misc]
    return (
        type(default) if isinstance(default, (bool, int, float, str)) else int | float | str | None
    )
