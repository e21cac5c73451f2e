"""The decoder over a model of ten lines, whose next token depends on all that stands before it."""

import numpy as np
import pytest

from zoo.contract import PAD_ID, Decodable, Leaf, StateSpec, log_softmax
from zoo.decoding import Decoder, InvalidOption, Options, Request, generate, next_tokens, stream
from zoo.decoding.filters import NoPadding, Temperature, TopK, TopP
from zoo.decoding.rows import Row
from zoo.decoding.strategies import Sampling
from zoo.tokenizers import train_characters

TOKENIZER = train_characters(["abcdefghij .\n"])
SIZE = TOKENIZER.vocabulary_size


class Toy(Decodable):
    """Logits from a table at a number that all tokens before make up; a cache holds the tokens."""

    state_spec = StateSpec(
        (
            Leaf("number", (), "int64"),
            Leaf("tokens", (None,), "int64", "cache", slots="positions"),
            Leaf("positions", (None,), "int32", "cache", initial=-1, slots="positions"),
        )
    )

    def __init__(self, table=None):
        random = np.random.default_rng(0).normal(size=(97, SIZE)) * 3
        self.table = np.float32(random if table is None else table)
        self.steps = []

    def start(self, source_ids_or_batch):
        if isinstance(source_ids_or_batch, int):
            return self.state_spec.initial(source_ids_or_batch)
        state = self.state_spec.initial(len(source_ids_or_batch))
        return self.step(source_ids_or_batch, state)[1]

    def read(self, token_ids, state):
        self.steps.append(token_ids.shape)
        state = dict(state)
        logits = np.zeros((*token_ids.shape, SIZE), "float32")
        for time, column in enumerate(token_ids.T):
            real = column != 0
            state["number"] = np.where(real, (5 * state["number"] + column) % 97, state["number"])
            logits[:, time] = self.table[state["number"] % len(self.table)]
        seen = (state["positions"] >= 0).sum(axis=1, keepdims=True)
        positions = np.where(token_ids != 0, seen + np.arange(token_ids.shape[1]), -1)
        state["positions"] = np.concatenate([state["positions"], positions], 1).astype("int32")
        state["tokens"] = np.concatenate([state["tokens"], token_ids], 1)
        self.state_spec.check(state)
        return logits, state


def rows_of(*options):
    return [Row(i, Request((1,), options=o), TOKENIZER) for i, o in enumerate(options)]


def drawing(temperature=1.0, **options):
    return Options(temperature=temperature, **options)


# === The loop ===


def test_greedy_by_hand():
    # Tokens a, b, c are 3, 4, 5 with the numbers <eos>: 1, a: 5*1+3 = 8, b: 5*8+4 = 44.
    a, b = TOKENIZER.encode("ab")
    table = np.zeros((97, SIZE))
    table[1, a] = np.log(4)  # exp: 4 beside 14 ones, without <pad>
    table[(5 + a) % 97, b] = np.log(9)
    table[(5 * (5 + a) + b) % 97, TOKENIZER.eos_id] = np.log(2)
    (result,) = generate(Toy(table), TOKENIZER, [Request.of(TOKENIZER)])
    assert result.text == "ab"
    assert result.token_ids == (a, b, TOKENIZER.eos_id)
    others = SIZE - 2
    expected = np.log([4 / (4 + others), 9 / (9 + others), 2 / (2 + others)])
    np.testing.assert_allclose(result.log_probs, expected, rtol=1e-6)
    assert result.finish_reason == "end"


MIXTURE = [
    ("", Options(max_tokens=9)),
    ("abc", Options(max_tokens=30)),
    ("j", drawing(seed=1, max_tokens=40)),
    ("abcabc. ", drawing(0.7, top_k=3, seed=2, max_tokens=17)),
    ("", drawing(1.3, top_p=0.8, seed=3, max_tokens=25)),
    ("hi", drawing(2.0, top_k=9, top_p=0.9, seed=3, stop=("a", "bc"))),
    ("hi", Options(max_tokens=1)),
]


def mixture():
    return [Request.of(TOKENIZER, prompt, options=options) for prompt, options in MIXTURE]


def test_a_request_gives_the_same_alone_and_in_any_batch():
    alone = [generate(Toy(), TOKENIZER, [request])[0] for request in mixture()]
    assert generate(Toy(), TOKENIZER, mixture()) == alone
    assert generate(Toy(), TOKENIZER, mixture()[::-1]) == alone[::-1]
    assert len({result.text for result in alone}) == len(alone)


def test_rows_join_a_running_batch():
    decoder, pieces = Decoder(Toy(), TOKENIZER), []
    waiting = mixture()
    while waiting or decoder.rows:
        if waiting:
            decoder.add([waiting.pop(0)])
        pieces += decoder.step()
    for number, result in enumerate(generate(Toy(), TOKENIZER, mixture())):
        assert result.token_ids == tuple(p.token_id for p in pieces if p.request == number)


def test_sources_and_prompts_are_read_at_once():
    requests = [Request.of(TOKENIZER, "ab", source) for source in ("c", "defg")]
    model = Toy()
    results = generate(model, TOKENIZER, requests)
    assert model.steps[:3] == [(2, 5), (2, 2), (2, 1)]
    # For this model a source is what stands before the prompt.
    for request, result in zip(requests, results):
        joined = Request((*request.source_ids, *request.prompt_ids))
        assert generate(Toy(), TOKENIZER, [joined])[0].token_ids == result.token_ids


def test_a_stream_is_the_same_piece_by_piece():
    pieces = list(stream(Toy(), TOKENIZER, mixture()))
    for number, result in enumerate(generate(Toy(), TOKENIZER, mixture())):
        own = [piece for piece in pieces if piece.request == number]
        assert "".join(piece.text for piece in own) == result.text
        assert [piece.finish_reason for piece in own[:-1]] == [None] * (len(own) - 1)


def test_the_next_tokens_are_those_that_greedy_and_chance_would_take():
    requests = [Request.of(TOKENIZER, prompt) for prompt in ("", "abc")]
    ids, log_probs = next_tokens(Toy(), TOKENIZER, requests, SIZE)
    assert ids.shape == log_probs.shape == (2, SIZE - 1)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    for result, best, log_prob in zip(generate(Toy(), TOKENIZER, requests), ids, log_probs):
        assert (result.token_ids[0], result.log_probs[0]) == (best[0], pytest.approx(log_prob[0]))


def test_no_requests_no_texts():
    assert generate(Toy(), TOKENIZER, []) == []


def test_finished_rows_cost_nothing():
    model = Toy()
    lengths = (5, 2, 3)
    requests = [Request((1,), options=Options(max_tokens=n)) for n in lengths]
    model.table[:, TOKENIZER.eos_id] = -100
    generate(model, TOKENIZER, requests)
    assert model.steps == [(3, 1), (3, 1), (2, 1), (1, 1), (1, 1)]


def test_padding_is_never_written():
    table = np.zeros((1, SIZE))
    table[:, PAD_ID] = 50
    requests = [Request((1,), options=o) for o in (Options(), drawing(seed=0))]
    for result in generate(Toy(table), TOKENIZER, requests):
        assert PAD_ID not in result.token_ids
        assert max(result.log_probs) < -1


def test_no_text_gets_longer_than_the_model_can_read():
    model = texts()
    model.max_length = 6
    fits = Request((1, 3, 4), options=Options(max_tokens=4))
    (result,) = generate(model, TOKENIZER, [fits])
    assert len(result.token_ids) == 4
    assert next_tokens(model, TOKENIZER, [Request((1, 3, 4, 5, 6, 7))], 1)[0].shape == (1, 1)
    read = list(model.steps)
    for request, option in (
        (Request((1, 3, 4), options=Options(max_tokens=5)), "max_tokens must be at most 4"),
        (Request((1, 3, 4, 5, 6, 7, 8)), "prompt must be at most 6 tokens"),
    ):
        with pytest.raises(InvalidOption, match=option):
            generate(model, TOKENIZER, [fits, request])
    assert model.steps == read


def test_an_empty_prompt_is_an_error():
    with pytest.raises(ValueError, match="<eos>"):
        Request(())
    with pytest.raises(ValueError, match="<eos>"):
        Request((1,), ())


# === Filters and strategies ===


def test_filters_by_hand():
    probabilities = np.array([[0.1, 0.4, 0.2, 0.3]] * 4)
    logits = np.log(probabilities)
    asked = rows_of(
        drawing(0.5, top_k=2, top_p=0.69),
        drawing(2, top_k=1, top_p=0.71),
        drawing(1, top_k=9, top_p=0.3),
        drawing(),
    )
    squared = probabilities[0] ** 2 / np.sum(probabilities[0] ** 2)
    np.testing.assert_allclose(np.exp(log_softmax(Temperature(asked)(logits)))[0], squared)
    possible = np.isfinite(TopK(asked)(logits)).astype(int)
    assert possible.tolist() == [[0, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    possible = np.isfinite(TopP(asked)(logits)).astype(int)
    assert possible.tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1]]
    assert np.isfinite(NoPadding(asked)(logits)).tolist() == [[False, True, True, True]] * 4


def test_filters_leave_what_they_are_given():
    logits = np.random.default_rng(0).normal(size=(2, SIZE))
    before = logits.copy()
    asked = rows_of(drawing(0.5, top_k=2, top_p=0.7), drawing())
    for rule in (NoPadding, Temperature, TopK, TopP):
        assert rule(asked)(logits) is not logits
        np.testing.assert_array_equal(logits, before)


def test_top_k_of_one_and_a_low_temperature_are_greedy():
    greedy = generate(Toy(), TOKENIZER, [Request((1,))])[0].token_ids
    for options in (drawing(top_k=1), drawing(1e-300), drawing(top_p=1e-300)):
        assert generate(Toy(), TOKENIZER, [Request((1,), options=options)])[0].token_ids == greedy


def test_draws_have_the_filtered_distribution():
    """Chi-square of 10,000 draws against 0.4, 0.3 and 0.2, renormalised."""
    draws, probabilities = 10_000, np.array([0.06, 0.4, 0.2, 0.3, 0.04])
    sampling = Sampling(rows_of(drawing(top_k=4, top_p=0.9, seed=0)))
    counts = np.bincount([sampling(np.log([probabilities]))[0] for _ in range(draws)], minlength=5)
    assert counts[[0, 4]].tolist() == [0, 0]
    expected = draws * probabilities[1:4] / 0.9
    # 13.8 is the 0.999 quantile at 2 degrees of freedom; the seed is fixed.
    assert np.sum((counts[1:4] - expected) ** 2 / expected) < 13.8


def test_without_a_seed_texts_differ():
    requests = [Request((1,), options=drawing(3.0)) for _ in range(4)]
    assert len({result.token_ids for result in generate(Toy(), TOKENIZER, requests)}) == 4


# === Stopping ===


def texts():
    """A model that writes only letters, without end."""
    model = Toy()
    model.table[:, :3] = -100
    return model


def test_finish_reasons():
    free = generate(texts(), TOKENIZER, [Request((1,), options=Options(max_tokens=60))])[0]
    cut = generate(texts(), TOKENIZER, [Request((1,), options=Options(max_tokens=4))])[0]
    assert (cut.finish_reason, cut.token_ids) == ("length", free.token_ids[:4])
    stop = free.text[5:8]
    stopped = generate(texts(), TOKENIZER, [Request((1,), options=Options(stop=(stop,)))])[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.token_ids == free.token_ids[: len(stopped.text) + len(stop)]


def test_what_looked_like_a_stop_string_is_written_after_all():
    free = generate(texts(), TOKENIZER, [Request((1,), options=Options(max_tokens=6))])[0]
    almost = Options(max_tokens=6, stop=(free.text[-2:] + "?",))
    assert generate(texts(), TOKENIZER, [Request((1,), options=almost)]) == [free]
