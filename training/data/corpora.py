"""What to train on: the data sets of `datasets/` by name, or the user's own files."""

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.data import grammar_en_fr, python_reference, splits
from training.data.download import File, fetch, unpack
from training.data.splits import PARTS, Parts
from zoo.texts import DataError, decode_text, lines, read_file

DATASETS = Path(__file__).parents[2] / "datasets"

Kind = Literal["stream", "lines", "pairs"]
Texts = dict[str, str]  # by the name of the file or topic

# Data sets that need no file: what gives their documents, or the parts themselves.
_EMBEDDED: dict[str, Callable[..., dict]] = {
    "python_reference": python_reference.documents,
    "grammar_en_fr": grammar_en_fr.parts,
}


@dataclass(frozen=True)
class Corpus:
    """Texts in three parts.

    Attributes:
        name: of the data set, or the path that the user gave.
        kind: what a document is: part of one long text (`"stream"`), a short text of its own
            (`"lines"`), or a source and its translation (`"pairs"`).
        train, valid, test: the documents, each a `str`, or a `(source, target)` for `"pairs"`; a
            part may be empty.
        split: the name of the split.
        lowercase: whether the scores published for it take upper and lower case for equal.
    """

    name: str
    kind: Kind
    train: list
    valid: list
    test: list
    split: str = "reference"
    lowercase: bool = False

    @property
    def scored(self) -> str:
        """The part that a model is scored on: the test part, or else the last that has texts."""
        return next((part for part in reversed(PARTS) if getattr(self, part)), PARTS[-1])

    @property
    def hash(self) -> str:
        """The SHA-256 of all documents, their order and their parts, in hexadecimal digits."""
        digest = hashlib.sha256()
        for part in PARTS:
            for document in getattr(self, part):
                for text in (document,) if isinstance(document, str) else document:
                    content = text.encode()
                    digest.update(f"{part} {len(content)}\n".encode() + content)
        return digest.hexdigest()


def list_corpora() -> list[str]:
    """The names that `load_corpus` knows."""
    return sorted(path.parent.name for path in DATASETS.glob("*/dataset.toml"))


def describe(name: str, split: str | None = None) -> dict[str, Any]:
    """What the `dataset.toml` of a data set says, with what it says of one split on top."""
    with (DATASETS / name / "dataset.toml").open("rb") as file:
        about = tomllib.load(file)
    return about | about["splits"][split] if split else about


def load_corpus(
    data: str | Path,
    *,
    target: str | Path | None = None,
    split: str | None = None,
    kind: Kind | None = None,
    size: int | None = None,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 42,
) -> Corpus:
    """A data set by name, or a user's own text.

    Args:
        data: a name of `list_corpora()`; else a text file, a `.gz` of one, or a folder, of which
            every file is read whose name does not begin with a dot, in the order of their paths.
            A file named like a data set is given as `"./name"`, or as a `Path`.
        target: a file whose lines are the translations of those of `data`.
        split: which split of a data set that has several; by default its first.
        kind: what the user's text is: `"stream"` (the default): each file is one long text, whose
            last parts, from a line end on, are held out; `"lines"`: each line that is not blank
            is a document, held out at random with all lines equal to it; `"pairs"`: a source and
            its translation in each line, a tab between them (what follows another tab is left
            out), held out with all translations of the same source.
        size: how much of a data set that is generated there is to be for training.
        fractions: of the user's text for training, validation and test; they sum to 1.
        seed: of the choice of the lines held out.

    Raises:
        DataError: there is no such data, it is empty, is not UTF-8, or an option does not fit it.
    """
    name = str(data)
    if isinstance(data, str) and name in list_corpora():
        if kind is not None:
            raise DataError(f"{name} says itself what kind of text it is: leave out kind={kind}")
        if target is not None:
            raise DataError(f"{name} has its translations, if any: leave out target={target}")
        return _load_dataset(name, split, size)
    if split is not None:
        raise DataError(f"a split can be named for {', '.join(list_corpora())} only, not {name}")
    if size is not None:
        raise DataError(f"{name} has the size it has: leave out size={size}")
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"three fractions that sum to 1 are wanted, not {list(fractions)}")
    paths = [Path(data)]
    if target is not None:
        if kind not in (None, "pairs"):
            raise DataError(f"with a target the text is of the kind pairs, not {kind}")
        kind, paths = "pairs", [Path(data), Path(target)]
    kind = kind or "stream"
    documents = _read_documents(paths, kind)
    cuts = fractions[0], 1 - fractions[2]
    if kind == "stream":
        one_line = not any("\n" in text.removesuffix("\n") for text in documents)
        parts = splits.consecutive(documents, cuts, boundary="" if one_line else "\n")
    else:
        parts = splits.together(documents, cuts, seed)
    return _corpus(name, kind, parts, split=f"fractions {' '.join(map(str, fractions))}")


def load_files(
    train: Sequence[str | Path],
    valid: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    kind: Kind = "stream",
) -> Corpus:
    """A user's own text that is in parts already: files, `.gz` or folders for each part.

    For `"pairs"` that is one tab-separated file, or a file of sources and one of translations.

    Raises:
        DataError: a file is missing, empty or not UTF-8.
    """
    parts = {
        part: _read_documents([Path(path) for path in paths], kind) if paths else []
        for part, paths in zip(PARTS, (train, valid, test), strict=True)
    }
    return _corpus(" ".join(map(str, train)), kind, parts, split="files")


def _corpus(name: str, kind: Kind, parts: Parts, **about: Any) -> Corpus:
    return Corpus(name, kind, parts["train"], parts["valid"], parts["test"], **about)


_NO_ARGUMENTS = ("counts", "languages", "lowercase", "examples")
"""What is said of a split besides how it is made."""


def _load_dataset(name: str, split: str | None, size: int | None) -> Corpus:
    about = describe(name)
    split = split or next(iter(about["splits"]))
    if split not in about["splits"]:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(about['splits'])}")
    options = {k: v for k, v in about["splits"][split].items() if k not in _NO_ARGUMENTS}
    method = options.pop("method")
    if size is not None and method != "given":
        raise DataError(f"{name} has the size it has: leave out size={size}")
    if method == "numbers":
        options = {part: DATASETS / name / file for part, file in options.items()}
    if method == "given":
        parts: Parts = _EMBEDDED[name](size=size, **options)
    elif method == "files":
        texts = _texts(name, about, {file for files in options.values() for file in files})
        parts = {}
        for part in PARTS:
            named = {file: texts[file] for file in options.get(part, [])}
            parts[part] = _documents(named, about["kind"]) if named else []
    else:
        texts = _EMBEDDED[name]() if about.get("embedded") else _texts(name, about)
        parts = getattr(splits, method)(_documents(texts, about["kind"]), **options)
    lowercase = (about | about["splits"][split]).get("lowercase", False)
    return _corpus(name, about["kind"], parts, split=split, lowercase=lowercase)


def _texts(dataset: str, about: dict[str, Any], wanted: Iterable[str] | None = None) -> Texts:
    """The texts of the files of a data set, or of those wanted."""
    files = [File(**entry) for entry in about["files"]]
    texts = {}
    for file in files if wanted is None else [file for file in files if file.name in wanted]:
        text = decode_text(unpack(fetch(dataset, file), file), file.name, file.encoding)
        if about.get("strip") == "gutenberg":
            start, end = text.index("\n*** START OF"), text.index("\n*** END OF")
            text = text[text.index("\n", start + 1) : end].strip("\n") + "\n"
        texts[file.name] = text
    return texts


def _read_documents(paths: Sequence[Path], kind: Kind) -> list:
    files = [file for path in paths for file in _files(path)]
    documents = _documents({str(file): decode_text(read_file(file), file) for file in files}, kind)
    if not documents:
        raise DataError(f"there is no text in {', '.join(map(str, paths))}")
    return documents


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"no data named {path}: it is neither a file, nor a folder, nor one of "
            f"{', '.join(list_corpora())}"
        )
    inside = (file for file in path.rglob("*") if file.is_file())
    return sorted(
        f for f in inside if not any(p.startswith(".") for p in f.relative_to(path).parts)
    )


def _documents(texts: Texts, kind: Kind) -> list:
    """The documents in some files, the blank ones left out."""
    if kind == "stream":
        return [text for text in texts.values() if text.strip()]
    if kind == "pairs":
        return [pair for pair in _pairs(texts) if pair[0].strip() and pair[1].strip()]
    return [line for text in texts.values() for line in lines(text) if line.strip()]


def _pairs(texts: Texts) -> list[tuple[str, str]]:
    """A file of sources and one of their translations, or one file with a tab in each line."""
    if len(texts) == 2:
        sources, targets = map(lines, texts.values())
        if len(sources) != len(targets):
            raise DataError(
                f"{' and '.join(texts)} are to have a translation for each line, and have "
                f"{len(sources)} and {len(targets)} lines"
            )
        return list(zip(sources, targets))
    if len(texts) > 2:
        raise DataError(f"pairs are in one file or in two, not in {len(texts)}")
    pairs = []
    for name, text in texts.items():
        for number, line in enumerate(lines(text), 1):
            if not line.strip():
                continue
            if "\t" not in line:
                raise DataError(f"{name}, line {number}: no tab between a text and its translation")
            source, target = line.split("\t")[:2]
            pairs.append((source, target))
    return pairs
