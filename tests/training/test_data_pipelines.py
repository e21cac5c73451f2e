"""Planners: worked by hand, then what holds of any: each token once a pass, any step at once."""

import collections
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from training.data.corpora import describe, load_corpus
from training.data.download import DataError
from training.data.pipelines import (
    Pairs,
    Sequences,
    Streams,
    Windows,
    padding_least,
    token_stream,
    tokenize,
)
from training.data.splits import PARTS
from zoo import tokenizers
from zoo.tokenizers import EOS_ID

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(3, 50, RNG.integers(0, 30)).astype("int32") for _ in range(103)]
STREAM = np.arange(3, 1003, dtype="int32")


def ids(*rows):
    return [np.array(row, "int32") for row in rows]


def counted(batches):
    """How often each `(id before, id)` is a target with weight 1."""
    counts = collections.Counter()
    for x, y, weight in batches:
        inputs = x["token_ids"]
        assert inputs.shape == y.shape == weight.shape
        assert (inputs.dtype, y.dtype, weight.dtype) == ("int32", "int32", "float32")
        assert set(np.unique(weight)) <= {0, 1}
        counts.update(zip(inputs[weight > 0].tolist(), y[weight > 0].tolist(), strict=True))
    return counts


def bigrams(rows):
    """The same, straight from the texts."""
    counts = collections.Counter()
    for row in rows:
        whole = [EOS_ID, *row.tolist(), EOS_ID]
        counts.update(itertools.pairwise(whole))
    return counts


# === By hand ===


def test_sequences_by_hand():
    plan = Sequences(ids([5, 6], [7]), batch_size=3, buckets=1)
    x, y, weight = plan.batch(0)
    order = np.argsort(-weight.sum(1))  # the longer text, the shorter one, the row of padding
    assert x["token_ids"][order].tolist() == [[1, 5, 6], [1, 7, 0], [0, 0, 0]]
    assert y[order].tolist() == [[5, 6, 1], [7, 1, 0], [0, 0, 0]]
    assert weight[order].tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert (plan.steps_per_pass, plan.targets_per_pass) == (1, 5)


def test_sequences_are_bucketed_by_hand():
    # Five texts of length 2 with their <eos>, three of length 4, two rows a batch: the fifth
    # short one goes on into a batch of the longer ones, and no row is padding alone.
    rows = ids([3], [3], [3], [3], [3], [4] * 3, [4] * 3, [4] * 3)
    plan = Sequences(rows, batch_size=2, buckets=2, shuffle=False)
    assert [y.tolist() for _, y, _ in plan.one_pass()] == [
        [[3, 1], [3, 1]],
        [[3, 1], [3, 1]],
        [[3, 1, 0, 0], [4, 4, 4, 1]],
        [[4, 4, 4, 1], [4, 4, 4, 1]],
    ]


def test_the_lengths_padded_to_are_those_that_pad_the_least():
    rng = np.random.default_rng(0)
    for _ in range(100):
        lengths = rng.integers(1, 9, rng.integers(1, 15))
        *others, longest = sorted({*lengths.tolist()})
        count = min(rng.integers(1, 6), len(others) + 1)
        boundaries = padding_least(lengths, count)
        slots = {
            (*some, longest): sum(
                min(b for b in (*some, longest) if b >= length) for length in lengths
            )
            for some in itertools.combinations(others, count - 1)
        }
        assert slots[tuple(boundaries)] == min(slots.values())


def test_batching_by_tokens_by_hand():
    rows = ids([3], [3], [3], [3], [4] * 3, [4] * 3, [4] * 9)
    plan = Sequences(rows, batch_tokens=8, buckets=3, shuffle=False)
    assert [y.shape for _, y, _ in plan.one_pass()] == [(4, 2), (2, 4), (1, 10)]


def test_pairs_by_hand():
    plan = Pairs(ids([5, 6, 7], []), ids([8], [9]), batch_size=2, shuffle=False, buckets=1)
    x, y, weight = plan.batch(0)
    assert x["encoder_token_ids"].tolist() == [[5, 6, 7, 1], [1, 0, 0, 0]]
    assert x["token_ids"].tolist() == [[1, 8, 0, 0], [1, 9, 0, 0]]
    assert y.tolist() == [[8, 1, 0, 0], [9, 1, 0, 0]]
    assert weight.sum() == plan.targets_per_pass == 4


def test_streams_by_hand():
    # 11 targets in 2 rows: 5 and 6 of them, in windows of 4.
    plan = Streams(np.arange(3, 14), batch_size=2, window=4)
    (x0, y0, w0), (x1, y1, w1) = plan.one_pass()
    assert x0["token_ids"].tolist() == [[1, 3, 4, 5], [7, 8, 9, 10]]
    assert y0.tolist() == [[3, 4, 5, 6], [8, 9, 10, 11]]
    assert x1["token_ids"].tolist() == [[6, 7, 8, 9], [11, 12, 1, 3]]
    assert y1.tolist() == [[7, 8, 9, 10], [12, 13, 3, 4]]
    assert w0.all()
    assert w1.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]


def test_windows_by_hand():
    plan = Windows(np.arange(3, 14), batch_size=2, window=4)
    rows = [row for x, *rest in plan.one_pass() for row in zip(x["token_ids"], *rest)]
    assert sorted([part.tolist() for part in row] for row in rows if row[-1].any()) == [
        [[1, 3, 4, 5], [3, 4, 5, 6], [1, 1, 1, 1]],
        [[6, 7, 8, 9], [7, 8, 9, 10], [1, 1, 1, 1]],
        [[10, 11, 12, 1], [11, 12, 13, 3], [1, 1, 1, 0]],
    ]
    assert len(rows) == 4


def test_random_windows_are_crops_from_anywhere():
    plan = Windows(STREAM, batch_size=8, window=5, order="random")
    starts = set()
    for step in range(100):
        x, y, weight = plan.batch(step)
        assert weight.all()
        assert (np.diff(y, axis=1) == 1).all()
        assert (x["token_ids"] == np.where(y == STREAM[0], EOS_ID, y - 1)).all()
        starts |= {*y[:, 0].tolist()}
    assert len(starts) > 400  # of 996, drawn 800 times: 1 - exp(-0.8) of them, 549
    assert min(starts) < 23
    assert max(starts) > 978
    # A stream shorter than a window is one crop.
    x, y, weight = Windows(STREAM[:3], batch_size=1, window=5, order="random").batch(9)
    assert (y.tolist(), weight.tolist()) == ([[3, 4, 5, 3, 4]], [[1, 1, 1, 0, 0]])


# === Any planner ===

PLANNERS = {
    "sequences": lambda seed: Sequences(ROWS, batch_size=8, seed=seed),
    "sequences by tokens": lambda seed: Sequences(ROWS, batch_tokens=128, seed=seed),
    "sequences in order": lambda seed: Sequences(ROWS, batch_size=8, shuffle=False),
    "one batch": lambda seed: Sequences(ROWS, batch_size=500, seed=seed),
    "pairs": lambda seed: Pairs(ROWS[::-1], ROWS, batch_size=8, seed=seed),
    "pairs by tokens": lambda seed: Pairs(ROWS[::-1], ROWS, batch_tokens=100, seed=seed),
    "streams": lambda seed: Streams(STREAM, batch_size=7, window=9),
    "streams longer than the text": lambda seed: Streams(STREAM, batch_size=3, window=2000),
    "more streams than tokens": lambda seed: Streams(STREAM, batch_size=1500, window=2),
    "windows": lambda seed: Windows(STREAM, batch_size=4, window=9, seed=seed),
    "windows longer than the text": lambda seed: Windows(STREAM, batch_size=2, window=1500),
}


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("name", PLANNERS)
def test_each_token_is_a_target_once_a_pass(name, number):
    plan = PLANNERS[name](1)
    steps = range(number * plan.steps_per_pass, (number + 1) * plan.steps_per_pass)
    found = counted(plan.batch(step) for step in steps)
    if isinstance(plan, Sequences):
        assert found == bigrams(ROWS)
    else:
        assert found == collections.Counter(zip([EOS_ID, *STREAM[:-1]], STREAM, strict=True))
    assert sum(found.values()) == plan.targets_per_pass


@pytest.mark.parametrize("name", PLANNERS)
def test_a_batch_depends_on_the_seed_and_the_step_alone(name):
    plan, again = PLANNERS[name](1), PLANNERS[name](1)
    last = 2 * plan.steps_per_pass + 1
    forwards = [plan.batch(step) for step in range(last)]
    for step in reversed(range(last)):
        x, y, weight = again.batch(step)
        assert all((x[key] == forwards[step][0][key]).all() for key in x)
        assert (y == forwards[step][1]).all()
        assert (weight == forwards[step][2]).all()


@pytest.mark.parametrize("name", ["sequences", "pairs", "windows"])
def test_each_pass_and_each_seed_has_its_own_order(name):
    plan = PLANNERS[name](1)
    first = [plan.batch(step)[1] for step in range(plan.steps_per_pass)]

    def differs(batches):
        return any(
            a.shape != b.shape or (a != b).any() for a, b in zip(first, batches, strict=True)
        )

    steps = range(plan.steps_per_pass)
    assert differs([plan.batch(plan.steps_per_pass + step)[1] for step in steps])
    assert differs([PLANNERS[name](2).batch(step)[1] for step in steps])
    assert not differs([PLANNERS[name](1).batch(step)[1] for step in steps])


def test_each_pair_stays_together():
    sources = ids(*([i] * (i % 7) for i in range(3, 103)))
    targets = ids(*([1000 + i] * (1 + i % 5) for i in range(3, 103)))
    for x, y, _ in Pairs(sources, targets, batch_tokens=64).one_pass():
        assert x["encoder_token_ids"].shape == y.shape
        for source, target in zip(x["encoder_token_ids"], y, strict=True):
            if target.any():
                i = target[0] - 1000
                assert source[source > 0].tolist() == [*[i] * (i % 7), EOS_ID]


def test_streams_go_on_where_they_were():
    plan = Streams(STREAM, batch_size=7, window=9)
    batches = list(plan.one_pass())
    for (_, before, _), (x, _, _) in itertools.pairwise(batches):
        assert (x["token_ids"][:, 0] == before[:, -1]).all()
    assert all((x["token_ids"] != 0).all() for x, _, _ in batches)


@pytest.mark.parametrize(("name", "most"), [("sequences", 4), ("pairs", 4), ("windows", 1)])
def test_shapes_are_few(name, most):
    plan = PLANNERS[name](0)
    shapes = {plan.batch(step)[1].shape for step in range(3 * plan.steps_per_pass)}
    assert len(shapes) <= most


def test_only_the_last_batch_has_rows_of_padding():
    plan = Sequences(ROWS, batch_size=8)
    empty = [int((y == 0).all(axis=1).sum()) for _, y, _ in plan.one_pass()]
    assert plan.steps_per_pass == -(-len(ROWS) // 8)
    assert sorted(empty)[-2:] == [0, 1]


def test_texts_that_are_too_long_are_left_out_and_counted():
    plan = Sequences(ROWS, batch_size=8, max_length=20)
    short = [row for row in ROWS if len(row) < 20]
    assert plan.left_out == len(ROWS) - len(short) > 0
    assert counted(plan.one_pass()) == bigrams(short)


# === Token ids ===


def test_a_stream_has_an_eos_after_each_document():
    tokenizer = tokenizers.train_characters(["ab\nc"])
    assert tokenizer.vocabulary[3:] == ["\n", "a", "b", "c"]
    assert token_stream(tokenizer, ["ab\n", "c"]).tolist() == [4, 5, 3, EOS_ID, 6, EOS_ID]
    assert [row.tolist() for row in tokenize(tokenizer, ["ab", "", "c"])] == [[4, 5], [], [6]]
    assert token_stream(tokenizer, []).tolist() == []


def test_a_stream_of_whitespace_mode_has_an_eos_after_each_line():
    tokenizer = tokenizers.train_words(["a b c"], mode="whitespace")
    stream = token_stream(tokenizer, [" a b \n \n c <unk>\n", "a"])
    assert stream.tolist() == [3, 4, EOS_ID, EOS_ID, 5, 2, EOS_ID, 3, EOS_ID]


@pytest.mark.skipif(
    not (Path(os.environ.get("ZOO_DATA", "")) / "wikitext-2").is_dir(),
    reason="needs the files of wikitext-2 in the folder that ZOO_DATA names",
)
def test_wikitext_has_as_many_tokens_as_published():
    counts, corpus = describe("wikitext-2")["counts"], load_corpus("wikitext-2")
    tokenizer = tokenizers.train_words(corpus.train, mode="whitespace")
    assert tokenizer.vocabulary_size == counts["vocabulary"] + 1  # <pad>, which is never there
    streams = {part: token_stream(tokenizer, getattr(corpus, part)) for part in PARTS}
    assert {part: len(stream) for part, stream in streams.items()} == counts["tokens"]
    assert not any((stream == 0).any() for stream in streams.values())


# === Errors ===


def test_no_text_is_an_error():
    for make in (
        lambda: Sequences([], batch_size=2),
        lambda: Sequences(ROWS, batch_size=2, max_length=0),
        lambda: Streams(STREAM[:0], 2, 3),
        lambda: Windows(STREAM[:0], 2, 3),
    ):
        with pytest.raises(DataError, match="there is no text to make batches of"):
            make()
    with pytest.raises(DataError, match="103 sources have 3 translations"):
        Pairs(ROWS, ROWS[:3], batch_size=2)


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="either batch_size or batch_tokens"):
        Sequences(ROWS)
    with pytest.raises(ValueError, match="either batch_size or batch_tokens"):
        Sequences(ROWS, batch_size=2, batch_tokens=8)
    with pytest.raises(ValueError, match="at least 1"):
        Streams(STREAM, 0, 3)
    with pytest.raises(ValueError, match="shuffled or random"):
        Windows(STREAM, 2, 3, order="sorted")
