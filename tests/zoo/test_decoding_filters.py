"""Each filter against an example worked by hand: three rows, of which the last asks for nothing."""

import numpy as np
import pytest

from zoo.decoding import Options, Request
from zoo.decoding.filters import FILTERS, filters_of
from zoo.decoding.history import History
from zoo.decoding.search import Search
from zoo.tokenizers import train_characters, train_words

TOKENIZER = train_characters(["abcde "])
END, SPACE, A, B, C, D, E = 1, 3, 4, 5, 6, 7, 8
NO = -np.inf


def filtered(logits, history, *options):
    """What the filters make of `{token: logit}`, 0 where none is given, the same in each row."""
    searches = [Search(i, Request((1,), options=o), TOKENIZER) for i, o in enumerate(options)]
    own = np.zeros((len(options), TOKENIZER.vocabulary_size), "float32")
    for token_id, logit in logits.items():
        own[:, token_id] = logit
    rules = filters_of(searches)
    assert len(rules) >= 1
    before, after = own.copy(), own
    for rule in rules:
        after = rule(after, own, history)
    np.testing.assert_array_equal(own, before)
    np.testing.assert_array_equal(after[-1], own[-1])
    return after


def history(*rows, prompt=1):
    """One row a text, the first tokens of each being the prompt."""
    past = History.of([row[:prompt] for row in rows])
    longest = max(map(len, rows))
    alone = []
    for i, row in enumerate(rows):
        own = past.take([i])
        for token_id in row[prompt:]:
            own = own.append([token_id], [0.0])
        alone.append(own)
    joined = alone[0]
    for own in alone[1:]:
        joined = joined.join(own)
    assert joined.ids.shape == (len(rows), longest)
    return joined


def changes(after, expected):
    """Compares the first two rows with `{token: logit}`, 0 where none is given."""
    for row, logits in zip(after, expected):
        wanted = np.zeros(after.shape[1])
        for token_id, logit in logits.items():
            wanted[token_id] = logit
        np.testing.assert_allclose(row, wanted, rtol=1e-6)


def test_repetition_penalty():
    # Prompt and text count, each token once; <eos>, which began both, does not.
    after = filtered(
        {END: 3, A: 2, B: -2, C: 1},
        history([1, A, B, A], [1, C, C, C], [1, A, B, C], prompt=2),
        Options(repetition_penalty=2.0),
        Options(repetition_penalty=4.0),
        Options(),
    )
    changes(after, [{END: 3, A: 1, B: -4, C: 1}, {END: 3, A: 2, B: -2, C: 0.25}])


def test_frequency_and_presence_penalty():
    # Only the text counts: in the first row a b a, in the second c.
    after = filtered(
        {A: 2, B: 2, C: 2},
        history([1, C, A, B, A], [1, A, C], [1, A, B, C], prompt=2),
        Options(frequency_penalty=0.5, presence_penalty=0.25),
        Options(frequency_penalty=-1.0),
        Options(),
    )
    changes(after, [{A: 2 - 2 * 0.5 - 0.25, B: 2 - 0.5 - 0.25, C: 2}, {A: 2, B: 2, C: 3}])


def test_no_repeated_ngrams():
    # a b c a b: no third "b c" after "b", and no third token of "a b c" either.
    rows = [1, A, B, C, A, B], [1, A, B, C, A, B], [1, A, A]
    asked = Options(no_repeat_ngram=2), Options(no_repeat_ngram=3), Options()
    changes(filtered({}, history(*rows), *asked), [{C: NO}, {C: NO}])
    # b b: after "b" no "b" again; "b b b" would be new. <eos> is possible, whatever n.
    rows = [1, B, B], [1, B, B], [1, B, B]
    changes(filtered({}, history(*rows), *asked), [{B: NO}, {}])
    asked = Options(no_repeat_ngram=1), Options(no_repeat_ngram=9), Options()
    changes(filtered({}, history(*rows), *asked), [{B: NO}, {}])


def test_bad_words_of_several_tokens():
    # "ab", "d" and "abe": after a no b, after a b no e; and "c a" only after "c ".
    after = filtered(
        {},
        history([1, A], [1, C, SPACE], [1, A], prompt=1),
        Options(bad_words=("ab", "d", "abe", "ö")),
        Options(bad_words=("c a",)),
        Options(),
    )
    changes(after, [{B: NO, D: NO}, {A: NO}])
    after = filtered({}, history([1, A, B], [1, A, B]), Options(bad_words=("abe",)), Options())
    changes(after[:1], [{E: NO}])


def test_a_bad_word_with_a_space_before_it_is_the_same_word():
    tokenizer = train_words(["good bad ones"])
    options = Options(bad_words=("bad", "unheard"))
    search = Search(0, Request((1,), options=options), tokenizer)
    assert search.bad_words_ids == ((tokenizer.id("bad"),),)


def test_suppressed_tokens_and_biases():
    after = filtered(
        {A: 1, B: 1},
        history([1], [1], [1]),
        Options(suppress_ids=(A, D), logit_bias=((B, 2.5), (B, 1), (A, 9))),
        Options(logit_bias=((END, -3),)),
        Options(),
    )
    changes(after, [{A: NO, B: 4.5, D: NO}, {A: 1, B: 1, END: -3}])


def test_minimum_length():
    asked = Options(min_tokens=2), Options(min_tokens=3), Options()
    past = history([1, C, A, B], [1, C, A, B], [1, A, B], prompt=2)
    changes(filtered({}, past, *asked), [{}, {END: NO}])
    past = history([1, C, A], [1, C], [1, A], prompt=2)
    changes(filtered({}, past, *asked), [{END: NO}, {END: NO}])


def test_the_prefix_comes_first_whatever_is_forbidden():
    asked = (
        Options(prefix="ab", suppress_ids=(A,), min_tokens=9, no_repeat_ngram=1),
        Options(prefix="c"),
        Options(),
    )
    everything = dict.fromkeys(range(TOKENIZER.vocabulary_size), NO)
    after = filtered({A: 2, C: 3}, history([1], [1], [1]), *asked)
    changes(after, [everything | {A: 2}, everything | {C: 3}])
    # Then row 1 is free.
    after = filtered({A: 2, C: 3}, history([1, A], [1, C], [1, A]), *asked)
    changes(after, [everything | {B: 0}, {A: 2, C: 3}])


def test_a_text_without_a_way_on_ends():
    every = tuple(range(1, TOKENIZER.vocabulary_size))
    after = filtered({END: 2}, history([1], [1]), Options(suppress_ids=every), Options())
    assert after[0, END] == 2
    assert np.isneginf(np.delete(after[0], [0, END])).all()


def test_no_filter_where_none_is_asked_for():
    searches = [Search(0, Request((1,)), TOKENIZER)]
    assert filters_of(searches) == []
    assert filters_of([]) == []


@pytest.mark.parametrize("rule", FILTERS)
def test_a_filter_says_when_it_is_asked_for(rule):
    assert not rule.is_asked(Options())
    everything = Options(
        repetition_penalty=2.0,
        presence_penalty=1.0,
        no_repeat_ngram=1,
        bad_words=("a",),
        suppress_ids=(3,),
        min_tokens=1,
        prefix="a",
    )
    assert rule.is_asked(everything)


def test_the_history_by_hand():
    past = history([1, A, B, C], [1, A], [1, C], prompt=1)
    assert past.ids.tolist() == [[1, A, B, C], [0, 0, 1, A], [0, 0, 1, C]]
    assert past.last(6)[1].tolist() == [0, 0, 0, 0, 1, A]
    assert past.last(0).shape == (3, 0)
    assert past.written.tolist() == [3, 1, 1]
    short = past.take([2, 1])
    assert short.ids.tolist() == [[1, C], [1, A]]
    assert past.take([]).ids.shape == (0, 0)
