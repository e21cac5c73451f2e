"""Two models that should be the same function: their logits, their states, and what they write."""

from typing import Any

import numpy as np

from zoo.contract import PAD_ID
from zoo.decoding import Options, Request, generate

TOLERANCE = 1e-4
"""Largest difference of a logit or of an element of the state, in float32: absolute for values up
to 1, in proportion beyond. What different orders of summation give stays a hundred times below."""

_SHAPES = ((1, 1), (3, 6))
_PROMPT_TOKENS, _WRITTEN_TOKENS = 3, 16


class ExportError(RuntimeError):
    """An export that failed; it leaves no bundle."""


class Mismatch(ExportError):
    """Two models are not the same; the message names the output, its shape and the difference."""


def verify(model: Any, reference: Any, tokenizer, source_tokenizer=None) -> dict[str, float]:
    """Compares a model with the one that it was made from.

    Each reads ragged batches, one after the other in the same state, and writes greedy texts.

    Args:
        model, reference: two `zoo.contract.Decodable`.
        tokenizer: of the text.
        source_tokenizer: of the source; `None` for a language model.

    Returns:
        The largest difference of each output, by name.

    Raises:
        Mismatch: one is above `TOLERANCE`, or a text is another.
    """
    random = np.random.default_rng(0)
    vocabulary_size = tokenizer.vocabulary_size
    source_size = source_tokenizer.vocabulary_size if source_tokenizer else 0
    differences: dict[str, float] = {}

    def starts(batch):
        source_ids = _ragged(random, batch, 5, source_size) if source_size else batch
        return [one.start(source_ids) for one in (model, reference)]

    def by_position(states):
        return [_by_position(reference.state_spec, state) for state in states]

    for batch, time in _SHAPES:
        states = starts(batch)
        _compare(differences, "start", *by_position(states))
        for token_ids in (
            _ragged(random, batch, time, vocabulary_size, shortest=0),
            _ragged(random, batch, 1, vocabulary_size),
        ):
            results = [one.step(token_ids, state) for one, state in zip((model, reference), states)]
            states = [state for _, state in results]
            real = token_ids != PAD_ID
            _compare(differences, "decode", *({"logits": logits[real]} for logits, _ in results))
            _compare(differences, "decode", *by_position(states))
    written = _WRITTEN_TOKENS
    if limit := model.max_length:
        written = min(written, limit - _PROMPT_TOKENS)
    requests = [
        Request(
            (tokenizer.eos_id, *_some(random, _PROMPT_TOKENS, vocabulary_size)),
            (*_some(random, 4, source_size), tokenizer.eos_id) if source_size else None,
            Options(max_tokens=count),
        )
        for count in (written // 2, written)  # so that a row leaves the other
    ]
    texts = [generate(one, tokenizer, requests) for one in (model, reference)]
    for ours, theirs in zip(*texts):
        if ours.token_ids != theirs.token_ids:
            raise Mismatch(f"greedy text: {ours.text!r} where Keras writes {theirs.text!r}")
    return differences


def _compare(differences, graph, ours, theirs):
    for name, expected in theirs.items():
        got, expected = np.asarray(ours[name]), np.asarray(expected)
        where = f"{graph}: {name} {got.shape}"
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise Mismatch(
                f"{where} {got.dtype}, where Keras has {expected.shape} {expected.dtype}"
            )
        difference = np.abs(got - expected) / np.maximum(1, np.abs(expected))
        largest = float(difference.max(initial=0))
        if not largest <= TOLERANCE:  # nor NaN
            raise Mismatch(f"{where} differs from Keras's by {largest:.1e}, over {TOLERANCE:.0e}")
        differences[name] = max(largest, differences.get(name, 0.0))


def _by_position(spec, state):
    """The state with the slots of each row in the order of their tokens, the empty ones at the end.

    Where a token's slot is depends on how the cache is kept, which is nobody's concern.
    """
    ordered = {}
    for leaf in spec:
        if leaf.kind == "cursor":
            continue
        ordered[leaf.name] = array = np.asarray(state[leaf.name])
        if leaf.slots:
            positions = np.asarray(state[leaf.slots])  # (batch, slots)
            last = np.iinfo(positions.dtype).max
            order = np.argsort(np.where(positions < 0, last, positions), axis=1)
            order = order[:, : (positions >= 0).sum(axis=1).max(initial=0)]
            is_empty = np.take_along_axis(positions, order, axis=1) < 0
            shape = [1] * array.ndim
            shape[0], shape[leaf.slot_axis] = order.shape
            array = np.take_along_axis(array, order.reshape(shape), leaf.slot_axis)
            initial = array.dtype.type(leaf.initial)
            ordered[leaf.name] = np.where(is_empty.reshape(shape), initial, array)
    return ordered


def _some(random, count, size):
    return random.integers(PAD_ID + 1, size, count).tolist()


def _ragged(random, batch, time, size, shortest=1):
    """Ids `(batch, time)`, the first row full and the last as short as may be."""
    lengths = np.linspace(time, shortest if batch > 1 else time, batch).astype(int)
    token_ids = random.integers(PAD_ID + 1, size, (batch, time))
    return np.where(np.arange(time) < lengths[:, None], token_ids, PAD_ID).astype("int32")
