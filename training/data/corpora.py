"""What to train on: the data sets of `datasets/` by name, or the user's own files."""

import hashlib
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.data import python_reference, splits, toy_translation
from training.data.download import DataError, File, fetch, read_file
from training.data.splits import PARTS, Parts

DATASETS = Path(__file__).parents[2] / "datasets"

Kind = Literal["stream", "lines", "pairs"]

# Data sets that need no file: what gives their documents, or the parts themselves.
_EMBEDDED: dict[str, Callable[[], dict]] = {
    "python_reference": python_reference.documents,
    "toy_translation": toy_translation.parts,
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
        licence, attribution: to be shown with what is made from the data; "" for a user's files.
    """

    name: str
    kind: Kind
    train: list
    valid: list
    test: list
    split: str = "reference"
    licence: str = ""
    attribution: str = ""

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


def describe(name: str) -> dict[str, Any]:
    """What the `dataset.toml` of a data set says."""
    with (DATASETS / name / "dataset.toml").open("rb") as file:
        return tomllib.load(file)


def load_corpus(
    data: str | Path,
    *,
    split: str | None = None,
    kind: Kind | None = None,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 42,
) -> Corpus:
    """A data set by name, or a user's own text.

    Args:
        data: a name of `list_corpora()`; else a text file, a `.gz` of one, or a folder, of which
            every file is read whose name does not begin with a dot, in the order of their paths.
            A file named like a data set is given as `"./name"`, or as a `Path`.
        split: which split of a data set that has several; by default its first.
        kind: what the user's text is: `"stream"` (the default): each file is one long text, whose
            last parts, from a line end on, are held out; `"lines"`: each line that is not blank
            is a document, held out at random with all lines equal to it.
        fractions: of the user's text for training, validation and test; they sum to 1.
        seed: of the choice of the lines held out.

    Raises:
        DataError: there is no such data, it is empty, is not UTF-8, or an option does not fit it.
    """
    name = str(data)
    if isinstance(data, str) and name in list_corpora():
        if kind is not None:
            raise DataError(f"{name} says itself what kind of text it is: leave out kind={kind}")
        return _load_dataset(name, split)
    if split is not None:
        raise DataError(f"a split can be named for {', '.join(list_corpora())} only, not {name}")
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"three fractions that sum to 1 are wanted, not {list(fractions)}")
    kind = kind or "stream"
    documents = _read_documents([Path(data)], kind)
    cuts = fractions[0], 1 - fractions[2]
    if kind == "lines":
        parts = splits.together(documents, cuts, seed)
    else:
        one_line = not any("\n" in text.removesuffix("\n") for text in documents)
        parts = splits.consecutive(documents, cuts, boundary="" if one_line else "\n")
    return _corpus(name, kind, parts, split=f"fractions {' '.join(map(str, fractions))}")


def load_files(
    train: Sequence[str | Path],
    valid: Sequence[str | Path] = (),
    test: Sequence[str | Path] = (),
    kind: Kind = "stream",
) -> Corpus:
    """A user's own text that is in parts already: files, `.gz` or folders for each part.

    Raises:
        DataError: a file is missing, empty or not UTF-8.
    """
    parts = {
        part: _read_documents([Path(path) for path in paths], kind) if paths else []
        for part, paths in zip(PARTS, (train, valid, test), strict=True)
    }
    return _corpus(" ".join(map(str, train)), kind, parts, split="files")


def lines(text: str) -> list[str]:
    """The lines of a text, without their ends; a line end at its end begins no further line."""
    return text.removesuffix("\n").split("\n") if text else []


def decode_text(content: bytes, name: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file's content, without a byte-order mark and with `\\n` at its line ends.

    Raises:
        DataError: the content is not in that encoding, or is no text at all.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not {encoding.upper()}: byte 0x{content[error.start]:02x} at offset "
            f"{error.start}; convert it, as with `iconv -f <its encoding> -t UTF-8`"
        ) from None
    if "\0" in text:
        raise DataError(f"{name} is no text: it has NUL bytes, as UTF-16 and programs have")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def _corpus(name: str, kind: Kind, parts: Parts, **about: str) -> Corpus:
    return Corpus(name, kind, parts["train"], parts["valid"], parts["test"], **about)


def _load_dataset(name: str, split: str | None) -> Corpus:
    about = describe(name)
    split = split or next(iter(about["splits"]))
    if split not in about["splits"]:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(about['splits'])}")
    options = dict(about["splits"][split])
    options.pop("counts", None)
    method = options.pop("method")
    if method == "numbers":
        options = {part: DATASETS / name / file for part, file in options.items()}
    if about.get("embedded"):
        texts = _EMBEDDED[name]()
    else:
        texts = {file["name"]: _text(name, File(**file), about) for file in about["files"]}
    if method == "given":
        parts: Parts = texts
    elif method == "files":
        parts = {part: [texts[file] for file in options.get(part, [])] for part in PARTS}
    else:
        documents = _documents(texts.values(), about["kind"])
        parts = getattr(splits, method)(documents, **options)
    licence, attribution = about["licence"], about["attribution"]
    return _corpus(
        name, about["kind"], parts, split=split, licence=licence, attribution=attribution
    )


def _text(dataset: str, file: File, about: dict[str, Any]) -> str:
    text = decode_text(fetch(dataset, file), file.name, file.encoding)
    if about.get("strip") == "gutenberg":
        text = text[text.index("\n", text.index("\n*** START OF") + 1) : text.index("\n*** END OF")]
        text = text.strip("\n") + "\n"
    return text


def _read_documents(paths: Sequence[Path], kind: Kind) -> list[str]:
    if kind not in ("stream", "lines"):
        raise DataError(f"a user's text is of the kind stream or lines, not {kind}")
    files = [file for path in paths for file in _files(path)]
    documents = _documents((decode_text(read_file(file), file) for file in files), kind)
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


def _documents(texts: Iterable[str], kind: Kind) -> list[str]:
    if kind == "stream":
        return [text for text in texts if text.strip()]
    return [line for text in texts for line in lines(text) if line.strip()]
