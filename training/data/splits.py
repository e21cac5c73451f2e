"""How documents become a training, a validation and a test part; each way is named in a
`dataset.toml`, or chosen for a user's own files. Every way is deterministic."""

import random
from collections.abc import Sequence
from pathlib import Path

PARTS = ("train", "valid", "test")

Parts = dict[str, list]
"""The documents of each part: texts, or pairs of a source and its translation."""


def shuffle(
    documents: Sequence[str], cuts: Sequence[float], seed: int, distinct: bool = False
) -> Parts:
    """Shuffled by `random.Random(seed).shuffle`, then cut at `int(fraction * n)`.

    Args:
        documents: lines, say; the empty ones are left out by whoever reads them.
        cuts: where the validation and where the test part begin, as fractions from 0 to 1.
        seed: of Python's own generator, whose shuffle has stayed the same since Python 3.2.
        distinct: keep each document once, where it stands first, so that no two parts share one.
    """
    documents = list(dict.fromkeys(documents) if distinct else documents)
    random.Random(seed).shuffle(documents)
    first, second = (int(cut * len(documents)) for cut in cuts)
    return _parts(documents[:first], documents[first:second], documents[second:])


def together(documents: Sequence, cuts: Sequence[float], seed: int) -> Parts:
    """As `shuffle`, but equal documents, or pairs with one source, are all kept, in one part, and
    all stay in their order."""
    keys = [document if isinstance(document, str) else document[0] for document in documents]
    part_of = {
        key: part
        for part, members in shuffle(keys, cuts, seed, distinct=True).items()
        for key in members
    }
    return {part: [d for d, key in zip(documents, keys) if part_of[key] == part] for part in PARTS}


def consecutive(documents: Sequence[str], cuts: Sequence[float], boundary: str = "") -> Parts:
    """Each document cut in three: its beginning to train on, its end to test on.

    Args:
        documents: long texts.
        cuts: where the validation and where the test part begin, as fractions of the characters
            (`int(fraction * n)`).
        boundary: a cut moves on to the end of the next one of these, after the last one to the
            end of the text; "", or one that the text does not have, leaves it where it is.
    """
    parts = _parts([], [], [])
    for text in documents:
        first, second = (_next(text, int(cut * len(text)), boundary) for cut in cuts)
        pieces = text[:first], text[first:second], text[second:]
        for part, piece in zip(PARTS, pieces, strict=True):
            if piece:
                parts[part].append(piece)
    return parts


def numbers(documents: Sequence[str], valid: Path, test: Path) -> Parts:
    """By files that hold the numbers (the first is 0) of the documents held out, one a line."""
    held_out = {
        part: [int(line) for line in path.read_text(encoding="ascii").split()]
        for part, path in (("valid", valid), ("test", test))
    }
    taken = set(held_out["valid"]) | set(held_out["test"])
    return _parts(
        [document for i, document in enumerate(documents) if i not in taken],
        *([documents[i] for i in held_out[part]] for part in ("valid", "test")),
    )


def _next(text: str, position: int, boundary: str) -> int:
    if position in (0, len(text)) or boundary not in text or not boundary:
        return position
    # From the boundary's length before: a cut that stands right behind one may stay.
    found = text.find(boundary, max(0, position - len(boundary)))
    return len(text) if found < 0 else found + len(boundary)


def _parts(train: list[str], valid: list[str], test: list[str]) -> Parts:
    return dict(zip(PARTS, (train, valid, test), strict=True))
