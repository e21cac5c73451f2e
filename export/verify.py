"""Two models that should be the same function: their logits, their states, and what they write."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.contract import PAD_ID
from zoo.decoding import Options, Request, generate
from zoo.tokenizers import EOS_ID, UNK_ID, Tokenizer, train_characters

TOLERANCE = 1e-4
"""Largest difference of a logit or of an element of the state, in float32: absolute for values up
to 1, in proportion beyond. What different orders of summation give stays a hundred times below."""

BATCHES = ((1, 1), (3, 6), (2, 21))
"""Rows and tokens of what is read; the graphs are traced with no length at all."""

TEXTS = {"greedy": {}, "beam search": {"beam_size": 3, "n_best": 2}}
"""Options of the decoder with which texts are written, by their name."""

_PROMPT_TOKENS, _WRITTEN_TOKENS = 3, 16
_FIRST = 0x10000  # a character, and so are some hundred thousand after it


class ExportError(RuntimeError):
    """An export that failed, or a bundle that is not what was exported; one line."""


class Mismatch(ExportError):
    """Two models are not the same; the message names the output, its shape and the difference."""


def verify(model: Any, reference: Any, tokenizer, source_tokenizer=None) -> dict[str, float]:
    """Compares a model with the one that it was made from.

    Each reads batches at once and token by token, then more tokens in the same state, and writes
    texts, greedy and by beam search. The rows of a batch have different lengths where the model is
    `ragged`.

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

    def ids(batch, time, size, shortest=1):
        return _ragged(random, batch, time, size, shortest if reference.ragged else time)

    def compare_states(graph, states):
        compare(differences, graph, *(_in_order(reference.state_spec, s) for s in states))

    def compare_results(graph, results, token_ids):
        real = token_ids != PAD_ID
        compare(differences, graph, *({"logits": logits[real]} for logits, _ in results))
        compare_states(graph, [state for _, state in results])

    for batch, time in BATCHES:
        time = min(time, (reference.max_length or time + 1) - 1)
        source_ids = ids(batch, 5, source_size) if source_size else batch
        starts = [one.start(source_ids) for one in (model, reference)]
        compare_states("start", starts)
        token_ids = ids(batch, time, vocabulary_size, shortest=0)
        results = [one.step(token_ids, state) for one, state in zip((model, reference), starts)]
        compare_results("decode", results, token_ids)
        _, advanced = model.step(token_ids, starts[0], want=0)
        compare_states("advance", [advanced, results[1][1]])
        compare_results(
            "token by token", [_by_token(model, token_ids, starts[0]), results[1]], token_ids
        )
        more = ids(batch, 1, vocabulary_size)
        again = [one.step(more, state) for one, (_, state) in zip((model, reference), results)]
        compare_results("decode", again, more)
    for name, options in TEXTS.items():
        requests = _requests(random, reference.max_length, options, vocabulary_size, source_size)
        texts = [
            [text for result in generate(one, tokenizer, requests) for text in result.ranked]
            for one in (model, reference)
        ]
        for ours, theirs in zip(*texts):
            if ours.token_ids != theirs.token_ids:
                raise Mismatch(f"{name}: {ours.text!r} instead of {theirs.text!r}")
    return differences


def stand_in_tokenizer(vocabulary_size: int) -> Tokenizer:
    """For a model that has none: a character a token."""
    return train_characters(map(chr, range(_FIRST, _FIRST + vocabulary_size - UNK_ID - 1)))


def _by_token(model, token_ids, state):
    """What `step` gives, one column at a time."""
    logits = []
    for time in range(token_ids.shape[1]):
        one, state = model.step(token_ids[:, time : time + 1], state)
        logits.append(one)
    return np.concatenate(logits, axis=1), state


def _requests(random, max_length, options, vocabulary_size, source_size):
    """Two, of which one ends before the other and its rows leave."""
    written = min(_WRITTEN_TOKENS, (max_length or _WRITTEN_TOKENS + 4) - _PROMPT_TOKENS)
    return [
        Request(
            (EOS_ID, *_some(random, _PROMPT_TOKENS - 1, vocabulary_size)),
            (*_some(random, 4, source_size), EOS_ID) if source_size else None,
            Options(max_tokens=count, **options),
        )
        for count in (max(written // 2, 1), written)
    ]


def compare(differences: dict[str, float], graph: str, ours: Mapping, theirs: Mapping) -> None:
    """Compares arrays by name, and notes the largest difference of each in `differences`.

    Raises:
        Mismatch: another shape or type, or a difference above `TOLERANCE`.
    """
    for name, expected in theirs.items():
        got, expected = np.asarray(ours[name]), np.asarray(expected)
        where = f"{graph}: {name} {got.shape}"
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise Mismatch(f"{where} {got.dtype} instead of {expected.shape} {expected.dtype}")
        difference = np.abs(got - expected) / np.maximum(1, np.abs(expected))
        largest = float(difference.max(initial=0))
        if not largest <= TOLERANCE:  # nor NaN
            raise Mismatch(f"{where} is off by {largest:.1e}, over {TOLERANCE:.0e}")
        differences[name] = max(largest, differences.get(name, 0.0))


def _in_order(spec, state):
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
