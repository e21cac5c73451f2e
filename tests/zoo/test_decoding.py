"""The loop: requests alone and in any batch, streams, the ends of texts, scores."""

import itertools
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zoo.command_line import complete
from zoo.contract import PAD_ID
from zoo.decoding import (
    Decoder,
    InvalidOption,
    Options,
    Request,
    generate,
    next_tokens,
    score,
    search,
    stream,
)
from zoo.tokenizers import train_byte_pairs

_toy = runpy.run_path(str(Path(__file__).parents[1] / "toy_model.py"))
TOKENIZER, Toy = _toy["TOKENIZER"], _toy["Toy"]
SIZE = TOKENIZER.vocabulary_size


def drawing(temperature=1.0, **options):
    return Options(temperature=temperature, **options)


def texts():
    """A model that writes only letters, without end."""
    model = Toy()
    model.table[:, :3] = -100
    return model


# === The loop ===


def test_texts_go_as_far_as_the_model_reads():
    model = texts()
    model.tokenizer, model.max_length = TOKENIZER, 8
    found = complete(model, ["a", "abcd"], Options(max_tokens=100))
    # <eos> and the beginning are read, and all that is written but the last token.
    assert [len(text) for text in found] == [8, 8]
    with pytest.raises(InvalidOption, match="prompt"):
        complete(model, ["abcdefgh"], Options())


def test_greedy_by_hand():
    # The first number is <eos> = 1; after a token it is 5 times what it was, and the token.
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
    assert result.score == pytest.approx(expected.sum(), rel=1e-6)
    assert result.finish_reason == "end"


MIXTURE = [
    ("", Options(max_tokens=9)),
    ("abc", Options(max_tokens=30)),
    ("j", drawing(seed=1, max_tokens=40)),
    ("abcabc. ", drawing(0.7, top_k=3, seed=2, max_tokens=17)),
    ("", drawing(1.3, top_p=0.8, seed=3, max_tokens=25)),
    ("hi", drawing(2.0, top_k=9, top_p=0.9, seed=3, stop=("a", "bc"))),
    ("", drawing(2.0, min_p=0.1, repetition_penalty=1.4, seed=4, max_tokens=25)),
    ("hi", Options(max_tokens=1)),
    ("cab", Options(beam_size=3, n_best=3, length_penalty=0.6, max_tokens=20)),
    ("", Options(beam_size=5, early_stopping=True, max_tokens=12, min_tokens=4)),
    ("a", Options(beam_size=2, max_tokens=15, no_repeat_ngram=1, stop=("hi", "c"))),
    ("gg", Options(max_tokens=25, no_repeat_ngram=2, suppress_ids=(1,), prefix="abab")),
    ("", Options(beam_size=4, n_best=2, prefix="hi", bad_words=("a", "bc"), max_tokens=30)),
    ("f", Options(frequency_penalty=1.5, presence_penalty=0.5, logit_bias=((1, -5.0),))),
]


def mixture():
    return [Request.of(TOKENIZER, prompt, options=options) for prompt, options in MIXTURE]


def alone():
    return [generate(Toy(), TOKENIZER, [request])[0] for request in mixture()]


def test_a_request_gives_the_same_alone_and_in_any_batch():
    expected = alone()
    assert generate(Toy(), TOKENIZER, mixture()) == expected
    assert generate(Toy(), TOKENIZER, mixture()[::-1]) == expected[::-1]
    assert len({result.text for result in expected}) == len(expected)


def test_rows_join_and_leave_a_running_batch():
    expected = alone()
    for order in (mixture(), mixture()[::-1]):
        decoder, results, waiting = Decoder(Toy(), TOKENIZER), {}, list(order)
        while waiting or decoder.searches:
            if waiting:
                decoder.add([waiting.pop(0)])
            results |= {piece.request: piece.result for piece in decoder.step() if piece.result}
        wanted = expected if order == mixture() else expected[::-1]
        assert [results[number] for number in range(len(order))] == wanted


def test_requests_that_are_given_up_leave_the_others_alone():
    decoder, results = Decoder(Toy(), TOKENIZER), {}
    numbers = decoder.add(mixture())
    assert numbers == list(range(len(MIXTURE)))
    for step in itertools.count():
        if step == 2:  # beams among them
            decoder.remove(numbers[::3])
        results |= {piece.request: piece.result for piece in decoder.step() if piece.result}
        if not decoder.searches:
            break
    expected = alone()
    assert set(results) >= set(numbers) - set(numbers[::3])
    assert all(result == expected[number] for number, result in results.items())
    assert decoder.add(mixture()[:1]) == [len(MIXTURE)]
    decoder.remove([len(MIXTURE)])
    assert decoder.searches == []


def test_many_requests_with_options_at_random():
    random = np.random.default_rng(0)

    def some():
        beams = int(random.integers(1, 5))
        draws = {"temperature": random.uniform(0.2, 2), "seed": int(random.integers(9))}
        if random.random() < 0.5:
            draws["top_k"] = int(random.integers(1, 20))
        kinds = [
            {},
            draws,
            {"beam_size": beams, "n_best": beams},
            {"beam_size": 3, "length_penalty": 1.0, "length_penalty_form": "plain"},
        ]
        rules = {
            "repetition_penalty": random.uniform(0.5, 2),
            "no_repeat_ngram": int(random.integers(1, 4)),
            "min_tokens": 3,
            "prefix": "abcdefghij"[: random.integers(4)],
            "bad_words": ("a", "b c", "hij"),
            "frequency_penalty": random.normal(),
            "stop": ("ab", "j"),
        }
        asked = {name: value for name, value in rules.items() if random.random() < 0.2}
        options = Options(
            max_tokens=int(random.integers(4, 30)), **kinds[random.integers(len(kinds))], **asked
        )
        return Request.of(TOKENIZER, "abcdefghij"[: random.integers(8)], options=options)

    requests = [some() for _ in range(60)]
    expected = [generate(Toy(), TOKENIZER, [request])[0] for request in requests]
    assert generate(Toy(), TOKENIZER, requests) == expected


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
        assert tuple(piece.token_id for piece in own) == result.token_ids
        assert tuple(piece.log_prob for piece in own) == result.log_probs
        assert [piece.finish_reason for piece in own[:-1]] == [None] * (len(own) - 1)
        assert (own[-1].result, own[-1].finish_reason) == (result, result.finish_reason)


def test_no_requests_no_texts():
    assert generate(Toy(), TOKENIZER, []) == []
    assert score(Toy(), TOKENIZER, [], []) == []


def test_finished_rows_cost_nothing():
    model = texts()
    requests = [Request((1,), options=Options(max_tokens=n)) for n in (5, 2, 3)]
    generate(model, TOKENIZER, requests)
    assert model.steps == [(3, 1), (3, 1), (2, 1), (1, 1), (1, 1)]


class Asked(Toy):
    """Keeps in mind what was wanted."""

    def step(self, token_ids, state, rows=None, want="logits"):
        self.wants = [*getattr(self, "wants", []), want]
        return super().step(token_ids, state, rows, want)


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ([Options()], 1),
        ([Options(), drawing(top_k=7, seed=0)], 7),
        ([Options(beam_size=4), drawing(top_k=7, seed=0)], 8),
        ([Options(), drawing(seed=0)], "logits"),
        ([Options(), Options(min_tokens=1)], "logits"),
    ],
)
def test_the_model_is_asked_for_no_more_than_is_needed(options, want):
    model = Asked()
    generate(model, TOKENIZER, [Request((1,), options=replace(o, max_tokens=2)) for o in options])
    assert model.wants == [want, want]


def test_padding_is_never_written():
    table = np.zeros((1, SIZE))
    table[:, PAD_ID] = 50
    options = (Options(), drawing(seed=0), Options(beam_size=2), Options(min_tokens=3))
    requests = [Request((1,), options=o) for o in options]
    for result in generate(Toy(table), TOKENIZER, requests):
        assert PAD_ID not in result.token_ids
        assert max(result.log_probs) < -1


def test_no_text_gets_longer_than_the_model_can_read():
    model = texts()
    model.max_length = 6
    fits = Request((1, 3, 4), options=Options(max_tokens=4))
    (result,) = generate(model, TOKENIZER, [fits])
    assert len(result.token_ids) == 4
    assert next_tokens(model, [Request((1, 3, 4, 5, 6, 7))], 1)[0].shape == (1, 1)
    read = list(model.steps)
    for request, option in (
        (Request((1, 3, 4), options=Options(max_tokens=5)), "max_tokens must be at most 4"),
        (Request((1, 3, 4, 5, 6, 7, 8)), "prompt must be at most 6 tokens"),
    ):
        with pytest.raises(InvalidOption, match=option):
            generate(model, TOKENIZER, [fits, request])
    with pytest.raises(InvalidOption, match="at most 4"):
        score(model, TOKENIZER, [fits], [(3,) * 5])
    assert model.steps == read


def test_an_empty_prompt_is_an_error():
    with pytest.raises(ValueError, match="<eos>"):
        Request(())
    with pytest.raises(ValueError, match="<eos>"):
        Request((1,), ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            Options(prefix="abc", max_tokens=2),
            "prefix must be at most 2 tokens, as max_tokens says, and not 3, not 'abc'",
        ),
        (
            Options(prefix="aö"),
            "prefix must be text that the tokenizer has tokens for, not 'aö'",
        ),
        (Options(suppress_ids=(1, 16)), r"suppress_ids must be of token ids below 16, not \(1, 16"),
        (Options(logit_bias=((10**20, 1),)), "logit_bias must be of token ids below 16"),
    ],
)
def test_an_option_that_does_not_suit_the_tokenizer(options, message):
    decoder = Decoder(Toy(), TOKENIZER)
    with pytest.raises(InvalidOption, match=message):
        decoder.add([Request((1,)), Request((1,), options=options)])
    assert (decoder.searches, decoder.add([Request((1,))])) == ([], [0])


# === Stopping ===


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


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_text_ends_when_its_time_is_up(monkeypatch, beam_size):
    seconds = itertools.count()  # one at each look on the clock: first, and at every token
    monkeypatch.setattr(search.time, "monotonic", lambda: next(seconds))
    options = Options(max_tokens=60, max_seconds=4.5, beam_size=beam_size)
    (result,) = generate(texts(), TOKENIZER, [Request((1,), options=options)])
    assert result.finish_reason == "time"
    assert len(result.token_ids) == 5


def test_a_character_of_several_tokens_is_written_whole():
    tokenizer = train_byte_pairs(["ab"], 262)
    model = Toy(vocabulary_size=tokenizer.vocabulary_size)
    request = Request((1,), options=Options(prefix="a漢!", stop=("!",)))
    pieces = list(stream(model, tokenizer, [request]))
    assert [piece.text for piece in pieces] == ["a", "", "", "漢", ""]
    assert pieces[-1].finish_reason == "stop"


# === What a model says of given texts ===


def test_the_next_tokens_are_those_that_greedy_and_chance_would_take():
    requests = [Request.of(TOKENIZER, prompt) for prompt in ("", "abc")]
    ids, log_probs = next_tokens(Toy(), requests, SIZE)
    assert ids.shape == log_probs.shape == (2, SIZE - 1)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-5)
    for result, best, log_prob in zip(generate(Toy(), TOKENIZER, requests), ids, log_probs):
        assert (result.token_ids[0], result.log_probs[0]) == (best[0], pytest.approx(log_prob[0]))


def test_what_is_written_has_the_score_of_a_text_that_is_given():
    requests = [replace(r, source_ids=(3 + i, 1)) for i, r in enumerate(mixture())]
    written = generate(Toy(), TOKENIZER, requests)
    scored = score(Toy(), TOKENIZER, requests, [result.token_ids for result in written])
    for ours, theirs, (_, options) in zip(scored, written, MIXTURE):
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, rtol=1e-5, atol=1e-6)
        if theirs.finish_reason != "stop":
            assert ours.text == theirs.text
        only_masks = not (options.repetition_penalty != 1 or options.frequency_penalty)
        if only_masks:
            assert ours.score == pytest.approx(theirs.score, rel=1e-5)


def test_the_score_of_a_text_by_hand():
    a, b = TOKENIZER.encode("ab")
    table = np.zeros((97, SIZE))
    table[1, a] = np.log(4)
    (result,) = score(Toy(table), TOKENIZER, [Request.of(TOKENIZER)], ["ab"])
    expected = np.log([4 / (4 + SIZE - 2), 1 / (SIZE - 1), 1 / (SIZE - 1)])
    assert result.token_ids == (a, b, TOKENIZER.eos_id)
    np.testing.assert_allclose(result.log_probs, expected, rtol=1e-6)
    assert (result.text, result.finish_reason) == ("ab", "end")
    assert result.score == pytest.approx(expected.sum())
    with pytest.raises(ValueError, match="one token"):
        score(Toy(table), TOKENIZER, [Request.of(TOKENIZER)], [()])


@pytest.mark.parametrize("beam_size", [1, 2])
def test_attention_on_request(beam_size):
    options = Options(max_tokens=4, beam_size=beam_size)
    requests = [
        Request.of(TOKENIZER, "ab", source, options, attention=source != "ccc")
        for source in ("c", "ccc", "defg")
    ]
    results = generate(texts(), TOKENIZER, requests)
    assert results[1].attention is None
    for request, result in zip(requests[::2], results[::2]):
        # The prompt is <eos>, a, b: b is token 2, and writes the first of four tokens.
        looking = np.arange(2, 6)[:, None]
        assert set(result.attention) == {"layer_0/self", "cross"}
        for name, slots in (("layer_0/self", 3 + 3), ("cross", len(request.source_ids))):
            expected = np.stack([looking / (1 + np.arange(slots))] * 2)
            np.testing.assert_allclose(result.attention[name], expected)
    (scored,) = score(texts(), TOKENIZER, requests[:1], [results[0].token_ids])
    np.testing.assert_allclose(scored.attention["cross"], results[0].attention["cross"])
