"""What a translation looked at: the matrix of attention weights between words, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.recipe import UserError
from zoo.decoding import Result
from zoo.tokenizers import EOS_ID, Tokenizer


def between_words(model, source: str, result: Result) -> tuple[np.ndarray, list[str], list[str]]:
    """How much each word of a translation looked at each word of its source.

    The mean over all layers and heads that look at the source. A word in several tokens gets the
    sum of what these were given, and looks at the mean of what they looked at.

    Args:
        model: a task of `zoo.tasks`, or a `zoo.bundle.Bundle`, for its tokenizers.
        source: the sentence.
        result: its translation, with the attention that was asked for.

    Returns:
        Weights `(target words, source words)`, whose rows sum to 1, and the words of both.

    Raises:
        UserError: the architecture has no attention.
    """
    weights = result.attention or {}
    cross = [array for name, array in weights.items() if name.endswith("cross")]
    if not cross:
        raise UserError("this model has no attention to draw: leave out --attention")
    matrix = np.mean(np.concatenate(cross), axis=0)
    source_ids = [*model.source_tokenizer.encode(source), EOS_ID]
    columns, source_words = words(model.source_tokenizer, source_ids)
    rows, target_words = words(model.tokenizer, result.token_ids)
    matrix = np.add.reduceat(matrix, columns, axis=1)
    lengths = np.diff([*rows, len(matrix)])
    return np.add.reduceat(matrix, rows, axis=0) / lengths[:, None], target_words, source_words


def words(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[list[int], list[str]]:
    """Where each word begins among some tokens, and the words; punctuation is by itself."""
    starts: list[int] = []
    for i, token_id in enumerate(ids):
        before, text = (tokenizer.decode(ids[:end], False) for end in (i, i + 1))
        last, new = before[-1:], text[len(before) :][:1]
        inside = i and EOS_ID not in (token_id, ids[i - 1]) and tokenizer.mode != "words"
        # The space before a word may be a token by itself.
        if not (inside and (last.isspace() or _in_a_word(last)) and _in_a_word(new)):
            starts.append(i)
    ends = [*starts[1:], len(ids)]
    return starts, [
        tokenizer.decode(ids[start:end], False).strip() for start, end in zip(starts, ends)
    ]


def _in_a_word(character: str) -> bool:
    return character.isalnum() or character in ("", "\N{REPLACEMENT CHARACTER}")


def draw(matrix: np.ndarray, target: Sequence[str], source: Sequence[str], path: Path) -> None:
    """Draws the weights as grey levels, white for 1, as figure 3 of Bahdanau et al. 2015.

    Args:
        matrix: `(target words, source words)`.
        target, source: the words.
        path: of the PNG.
    """
    from matplotlib.figure import Figure  # not pyplot, which looks for a screen

    width, height = (1.5 + 0.35 * len(side) for side in (source, target))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="gray", vmin=0, vmax=1)
    # A word is text, whatever stands in it: no $ begins a formula.
    axes.set_xticks(range(len(source)), source, rotation=90, parse_math=False)
    axes.set_yticks(range(len(target)), target, parse_math=False)
    axes.xaxis.tick_top()
    figure.savefig(path, dpi=120)
