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
    """A line of the table; that of one of our own is made by training/publish.py.

    Args:
        where: a directory, or a handle that KerasHub resolves (`hf://`, `kaggle://`).
        description: what was trained on what.
        score: metric, value and split.
    """

    where: str
    description: str
    score: str


def read(directory: Path) -> Preset:
    """What a published preset says of itself."""
    about = json.loads((directory / "about.json").read_text(encoding="utf-8"))
    return Preset(str(directory), about["description"], about["score"])


PRESETS: dict[str, Preset] = {
    path.parent.name: read(path.parent) for path in sorted(DIRECTORY.glob("[!.]*/about.json"))
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
        replace(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace(new: Path, directory: Path) -> None:
    """Puts a directory in the place of another, if there is one, on the same file system."""
    if directory.exists():
        old = directory.with_name(f".{directory.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(directory, old)
        os.replace(new, directory)
        shutil.rmtree(old)
    else:
        os.replace(new, directory)


def precision(directory) -> str:
    """The type that the weights of a preset have on disk, `float32` or `float16`."""
    import h5py

    types = set()
    with h5py.File(Path(directory) / "model.weights.h5") as file:
        file.visititems(lambda _, item: types.add(str(getattr(item, "dtype", ""))))
    return "float16" if "float16" in types else "float32"


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
