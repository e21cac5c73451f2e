"""What sampling draws, and what a beam search finds."""

import itertools
import math
import runpy
from pathlib import Path

import numpy as np
import pytest

from zoo.contract import log_softmax
from zoo.decoding import Options, Request, decoder, generate, score
from zoo.decoding.search import Search
from zoo.decoding.strategies import (
    BeamSearch,
    Candidates,
    Greedy,
    Sampling,
    TopKSampling,
    most_of_the_mass,
    near_the_best,
    sharpened,
    strategy_of,
)
from zoo.tokenizers import train_characters

_toy = runpy.run_path(str(Path(__file__).parents[1] / "toy_model.py"))
TOKENIZER, Toy = _toy["TOKENIZER"], _toy["Toy"]


def searches(*options, tokenizer=TOKENIZER):
    return [Search(i, Request((1,), options=o), tokenizer) for i, o in enumerate(options)]


def drawing(temperature=1.0, **options):
    return Options(temperature=temperature, **options)


def column(*values):
    return np.array(values, "float64")[:, None]


# === Sampling ===


def test_what_is_drawn_from_by_hand():
    probabilities = np.array([0.1, 0.4, 0.2, 0.3])
    scores = np.log([probabilities] * 4)
    squared = probabilities**2 / np.sum(probabilities**2)
    halves = np.exp(log_softmax(sharpened(scores, column(0.5, 1, 1, 1))))
    np.testing.assert_allclose(halves[:2], [squared, probabilities])
    possible = np.isfinite(most_of_the_mass(scores, column(0.69, 0.71, 0.3, np.inf))).astype(int)
    assert possible.tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1]]
    # A half of 0.4 is 0.2.
    possible = np.isfinite(near_the_best(scores, column(0.49, 0.51, 1, 0))).astype(int)
    assert possible.tolist() == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]]


def test_what_is_given_stays_as_it_is():
    scores = np.random.default_rng(0).normal(size=(2, 9))
    before = scores.copy()
    for change in (sharpened, most_of_the_mass, near_the_best):
        assert change(scores, column(0.5, 0.7)) is not scores
    TopKSampling(searches(drawing(top_k=2, seed=0), drawing(top_k=3, seed=0)))(
        Candidates(None, scores, scores), np.zeros(2)
    )
    np.testing.assert_array_equal(scores, before)


def test_where_one_token_is_left_sampling_is_greedy():
    greedy = generate(Toy(), TOKENIZER, [Request((1,))])[0].token_ids
    for options in (
        drawing(top_k=1),
        drawing(1e-300),
        drawing(top_p=1e-300),
        drawing(min_p=1.0),
        drawing(1e300, top_k=1),
    ):
        assert generate(Toy(), TOKENIZER, [Request((1,), options=options)])[0].token_ids == greedy


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.06, 0.4, 0.2, 0.3, 0.04]),
        ({"top_k": 4, "top_p": 0.9}, [0, 4 / 9, 2 / 9, 3 / 9, 0]),
        ({"temperature": 0.5, "top_k": 2}, [0, 16 / 25, 0, 9 / 25, 0]),
        ({"min_p": 0.14}, [0.06 / 0.96, 0.4 / 0.96, 0.2 / 0.96, 0.3 / 0.96, 0]),
    ],
)
def test_draws_have_the_filtered_distribution(options, expected):
    """Chi-square of 10,000 draws at a fixed seed."""
    draws, expected = 10_000, np.array(expected)
    (search,) = searches(Options(**{"temperature": 1.0, "seed": 0} | options))
    sampling = strategy_of(search.options)([search])
    scores = np.log([[0.06, 0.4, 0.2, 0.3, 0.04]])
    candidates = Candidates(None, scores, scores)
    drawn = [sampling(candidates, np.zeros(1)).token_ids[0] for _ in range(draws)]
    counts = np.bincount(drawn, minlength=5)
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], draws * expected[expected > 0]
    # The 0.999 quantiles of chi-square at 1 to 4 degrees of freedom; the seed is fixed.
    most = [10.83, 13.82, 16.27, 18.47][len(expected) - 2]
    assert np.sum((counts - expected) ** 2 / expected) < most


def test_where_probabilities_are_equal_top_k_takes_the_lower_ids():
    (search,) = searches(drawing(top_k=3, seed=0))
    scores = np.log([[0.1, 0.2, 0.2, 0.2, 0.2, 0.1]])
    sampling = TopKSampling([search])
    for candidates in (Candidates(None, scores, scores), Candidates(None, scores, scores).best(5)):
        drawn = {int(sampling(candidates, np.zeros(1)).token_ids[0]) for _ in range(60)}
        assert drawn == {1, 2, 3}


def test_without_a_seed_texts_differ():
    requests = [Request((1,), options=drawing(3.0)) for _ in range(4)]
    assert len({result.token_ids for result in generate(Toy(), TOKENIZER, requests)}) == 4


def test_what_the_options_ask_for():
    asked = Options(), drawing(), drawing(top_p=0.5), drawing(top_k=3), Options(beam_size=2)
    assert list(map(strategy_of, asked)) == [Greedy, Sampling, Sampling, TopKSampling, BeamSearch]


# === Beam search ===


def test_a_beam_finds_what_greedy_misses():
    # a is likelier than b, but after b the end is sure and after a it is not.
    tokenizer = train_characters(["ab"])
    a, b = tokenizer.encode("ab")
    table = np.full((97, 5), -50.0)
    table[1, [a, b]] = np.log([0.6, 0.4])
    table[5 + a, [1, a, b]] = np.log([0.5, 0.3, 0.2])
    table[5 + b, 1] = 0
    for first, second in itertools.product((a, b), repeat=2):
        table[(5 * (5 + first) + second) % 97, 1] = 0
    requests = [
        Request((1,)),
        Request((1,), options=Options(beam_size=2, n_best=2)),
        Request((1,), options=Options(beam_size=4, n_best=4, early_stopping=True)),
    ]
    greedy, beam, wide = generate(Toy(table), tokenizer, requests)
    assert (greedy.text, greedy.score) == ("a", pytest.approx(np.log(0.3), abs=1e-5))
    assert (beam.text, beam.score) == ("b", pytest.approx(np.log(0.4), abs=1e-5))
    assert [result.text for result in beam.alternatives] == ["a"]
    assert [result.text for result in wide.ranked] == ["b", "a", "aa", "ab"]
    scores = [result.score for result in wide.ranked]
    np.testing.assert_allclose(scores, np.log([0.4, 0.3, 0.18, 0.12]), atol=1e-5)


PENALTIES = [
    {},
    {"length_penalty": 0.6},
    {"length_penalty": 2.0},
    {"length_penalty": 1.0, "length_penalty_form": "plain"},
    {"length_penalty": -1.0, "length_penalty_form": "plain"},
]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n_best", [1, 4, 50])
def test_a_beam_over_a_tiny_vocabulary_is_exhaustive_search(penalty, n_best):
    tokenizer, longest = train_characters(["ab"]), 4
    model = Toy(vocabulary_size=tokenizer.vocabulary_size)
    model.table /= 3
    texts = [
        (*beginning, last)
        for length in range(longest)
        for beginning in itertools.product((2, 3, 4), repeat=length)
        for last in ((1, 2, 3, 4) if length == longest - 1 else (1,))
    ]
    alpha, is_wu = penalty.get("length_penalty", 0), "length_penalty_form" not in penalty
    lengths = np.array([len(text) for text in texts])
    scored = score(model, tokenizer, [Request((1,))] * len(texts), texts)
    scores = np.array([result.score for result in scored])
    scores = scores / ((5 + lengths) / 6 if is_wu else lengths) ** alpha
    best = sorted(zip(-scores, texts))[:n_best]
    options = Options(beam_size=120, n_best=n_best, max_tokens=longest, **penalty)
    (result,) = generate(model, tokenizer, [Request((1,), options=options)])
    found = result.ranked
    assert [one.token_ids for one in found] == [text for _, text in best]
    np.testing.assert_allclose([-one.score for one in found], [s for s, _ in best], rtol=1e-5)


def test_a_beam_of_one_is_greedy(monkeypatch):
    requests = [Request.of(TOKENIZER, prompt) for prompt in ("", "a", "hij", "bad ")]
    greedy = generate(Toy(), TOKENIZER, requests)
    monkeypatch.setattr(decoder, "strategy_of", lambda options: BeamSearch)
    assert generate(Toy(), TOKENIZER, requests) == greedy


def test_a_search_ends_when_nothing_better_can_come():
    """<eos> at once has 2/16, any other token 1/16 and then 1/15 of that."""
    table = np.zeros((97, TOKENIZER.vocabulary_size))
    table[1, 1] = np.log(2)
    steps = {}
    for early_stopping, penalty in itertools.product((True, False), (0.0, 1.0)):
        model = Toy(table)
        options = Options(
            beam_size=3, length_penalty=penalty, early_stopping=early_stopping, max_tokens=9
        )
        (result,) = generate(model, TOKENIZER, [Request((1,), options=options)])
        assert result.token_ids == (1,)
        steps[early_stopping, penalty] = len(model.steps)
    # With a penalty a text of 9 tokens, whose divisor is (5 + 9) / 6, might become better:
    # log(1/16) / (14/6) is above log(2/16), and log(1/240) / (14/6) is not.
    assert steps[False, 0.0] == 1
    assert steps[False, 1.0] == 2
    assert steps[True, 0.0] == steps[True, 1.0] > 1


def test_what_has_ended_is_not_gone_on_with():
    model = Toy()
    model.table[:, 1] += 4
    options = Options(beam_size=6, n_best=6, max_tokens=12, early_stopping=True)
    (result,) = generate(model, TOKENIZER, [Request((1,), options=options)])
    for one in result.ranked:
        assert 1 not in one.token_ids[:-1]
        assert (one.token_ids[-1] == 1) == (one.finish_reason == "end")
    found = [one.token_ids for one in result.ranked]
    assert len(set(found)) == 6
    scores = [one.score for one in result.ranked]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("penalty", "divisor"),
    [
        ({"length_penalty": 2.0, "length_penalty_form": "plain"}, 3**2),
        ({"length_penalty": 0.5}, math.sqrt((5 + 3) / 6)),
    ],
)
def test_length_penalties_by_hand(penalty, divisor):
    options = Options(beam_size=2, max_tokens=3, min_tokens=3, **penalty)
    (result,) = generate(Toy(), TOKENIZER, [Request((1,), options=options)])
    assert result.score == pytest.approx(sum(result.log_probs) / divisor, rel=1e-5)
