"""Pretrained models by name, and the directories that they are saved in.

A preset is a directory in KerasHub's format: JSON configurations, weights in h5, a tokenizer.json.
Loading one runs none of its content: configurations may name only classes of the zoo.
"""

import difflib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    """A line of the table.

    Args:
        where: a directory, or a handle that KerasHub resolves (`hf://`, `kaggle://`).
        description: what was trained on what.
        score: metric, value and split.
    """

    where: str
    description: str
    score: str


def _own(name: str, description: str, score: str) -> dict[str, Preset]:
    return {name: Preset(str(DIRECTORY / name), description, score)}


PRESETS: dict[str, Preset] = {
    **_own("bigram_names", "bigrams of letters, counted on all names", "2.4540 nats (train)"),
    **_own("bengio_names", "Bengio 2003 over 3 letters, on names", "2.0748 nats (test)"),
    **_own("bengio8_names", "Bengio 2003 over 8 letters, on names", "1.9723 nats (test)"),
    **_own("elman_names", "simple RNN of 256 units, on names", "1.9881 nats (test)"),
    **_own("gru_names", "GRU of 192 units, on names", "1.9981 nats (test)"),
    **_own("lstm_names", "LSTM of 192 units, on names", "1.9943 nats (test)"),
    **_own(
        "transformer_names",
        "Transformer of 4 layers of 128, on names",
        "1.9065 nats (test, makemore)",
    ),
}


def list_presets() -> dict[str, Preset]:
    """The table, by name."""
    return dict(PRESETS)


class PresetError(ValueError):
    """There is no such preset, or it is not one that may be loaded; the message is one line."""


def find(name) -> Path:
    """The directory of a preset on this machine.

    Args:
        name: a name of `list_presets()`, a preset directory, or the directory of a training run,
            which keeps its model in `preset/`.

    Raises:
        PresetError: there is none.
    """
    where = Path(PRESETS[str(name)].where if str(name) in PRESETS else name)
    for directory in (where / "preset", where):
        if (directory / "task.json").is_file():
            return directory
    near = difflib.get_close_matches(str(name), PRESETS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise PresetError(
        f"no preset {str(name)!r}: neither a name of zoo.list_presets() nor a directory with a "
        f"task.json{hint}"
    )


def load(name, **kwargs):
    """Loads a pretrained task.

    Args:
        name: what `find` takes, or a handle that KerasHub resolves, such as `hf://user/model`.
        kwargs: passed on to KerasHub's `from_preset`, such as `dtype`.

    Returns:
        The task, `zoo.tasks.CausalLM` or `Seq2SeqLM`.

    Raises:
        PresetError: there is no such preset, it is damaged, or its files name a class that is not
            the zoo's.
    """
    where = PRESETS[name].where if name in PRESETS else str(name)
    directory = _download(where) if "://" in where else find(name)
    import keras

    import zoo.tasks  # noqa: F401 - registers the classes of the zoo

    try:
        configurations = {path: json.loads(path.read_bytes()) for path in directory.glob("*.json")}
        for path, configuration in configurations.items():
            _refuse_foreign_classes(configuration, path)
        task = configurations[directory / "task.json"]
        cls = keras.saving.get_registered_object(task["registered_name"])
        return cls.from_preset(str(directory), **kwargs)
    except PresetError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PresetError(f"cannot load {directory}: {_one_line(error)}") from error


def _download(handle: str) -> Path:
    """The directory of what a handle names, in the cache of the site that it comes from."""
    site, _, name = handle.partition("://")
    try:
        if site == "hf":
            import huggingface_hub

            files = ["*.json", "*.h5"]  # no other is ever read
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=files))
        if site == "kaggle":
            import kagglehub

            return Path(kagglehub.model_download(name))
    except Exception as error:  # each site has many kinds of its own
        raise PresetError(f"cannot fetch {handle}: {_one_line(error)}") from error
    raise PresetError(f"{handle}: presets come from hf:// and kaggle://, or lie in a directory")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _refuse_foreign_classes(config, file):
    import keras

    if isinstance(config, dict) and "class_name" in config:
        registered = config.get("registered_name") or ""
        ours = registered.startswith("zoo>") and keras.saving.get_registered_object(registered)
        policy = (config.get("module"), config["class_name"]) == ("keras", "DTypePolicy")
        if not (ours or policy):
            raise PresetError(
                f"{file}: refused to load {config['class_name']!r}: no class of the zoo"
            )
    for value in config.values() if isinstance(config, dict) else config:
        if isinstance(value, dict | list):
            _refuse_foreign_classes(value, file)


def save(task, directory, float16=False):
    """Saves a task as a preset; the directory appears, or is replaced, all at once.

    Args:
        task: of `zoo.tasks`.
        directory: where to.
        float16: store the weights at half precision. Any loader widens them again; check that the
            score stays.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        task.save_to_preset(temporary)
        if float16:
            _halve(temporary / "model.weights.h5")
        temporary.chmod(0o755)  # a temporary directory is its owner's alone
        if directory.exists():
            old = directory.with_name(f".{directory.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            os.replace(directory, old)
            os.replace(temporary, directory)
            shutil.rmtree(old)
        else:
            os.replace(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _halve(path):
    """Rewrites the float32 arrays of an h5 file as float16."""
    import h5py

    with h5py.File(path) as source, h5py.File(path.with_suffix(".half"), "w") as target:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                target[name] = item[()].astype("float16" if item.dtype == "float32" else item.dtype)
            else:
                target.require_group(name)
            target[name].attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    os.replace(path.with_suffix(".half"), path)
