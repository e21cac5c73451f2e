"""Reading in parts, and what a decoder tells beside the text."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from zoo.contract import Decodable, Leaf, StateSpec
from zoo.decoding import (
    InvalidOption,
    Options,
    Request,
    embed_in_parts,
    generate,
    next_in_parts,
    next_tokens,
    score,
    score_in_parts,
)

_toy = runpy.run_path(str(Path(__file__).parents[1] / "toy_model.py"))
TOKENIZER, Toy = _toy["TOKENIZER"], _toy["Toy"]


def finish(parts):
    """What work that is done in parts returns."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_reading_in_parts_is_reading_at_once(size):
    model, request = Toy(), Request.of(TOKENIZER, "abc de")
    everywhere = finish(next_in_parts(model, request, 3, size, everywhere=True))
    assert len(everywhere) == len(request.prompt_ids)
    for end, top in enumerate(everywhere, 1):
        ids, log_probs = next_tokens(model, [Request(request.prompt_ids[:end])], 3)
        assert [i for i, _ in top] == ids[0].tolist()
        assert np.allclose([p for _, p in top], log_probs[0], atol=1e-6)
    assert finish(next_in_parts(model, request, 3, size)) == everywhere[-1:]

    requests, texts = [request, Request.of(TOKENIZER, "")], ["ja", "bad cafe"]
    at_once = score(model, TOKENIZER, requests, texts)
    in_parts = finish(score_in_parts(model, TOKENIZER, requests, texts, size))
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.token_ids == other.token_ids
        assert np.allclose(one.log_probs, other.log_probs, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.9, "seed": 2}, {"min_tokens": 4}])
def test_top_is_what_the_model_holds_most_probable(options):
    model = Toy()
    request = Request.of(TOKENIZER, "ab", options=Options(max_tokens=6, **options), top=4)
    other = Request.of(TOKENIZER, "c", options=Options(max_tokens=4))
    result, beside = generate(model, TOKENIZER, [request, other])
    assert beside.top == ()
    assert len(result.top) == len(result.token_ids)
    for written, top in enumerate(result.top):
        before = Request((*request.prompt_ids, *result.token_ids[:written]))
        ids, log_probs = next_tokens(model, [before], 4)
        assert [i for i, _ in top] == ids[0].tolist()
        assert np.allclose([p for _, p in top], log_probs[0], atol=1e-5)


def test_a_beam_search_tells_no_top():
    with pytest.raises(InvalidOption, match="top must be 0 where beam_size is above 1"):
        Request.of(TOKENIZER, "", options=Options(beam_size=2), top=3)


def test_an_embedding_is_the_mean_over_the_tokens():
    class Numbers(Decodable):
        state_spec = StateSpec(
            (
                Leaf("positions", (None,), "int32", "cache", initial=-1, slots="positions"),
                Leaf("value", (2, None), "float32", "cache", slots="positions"),
                Leaf("last", (1,)),
            )
        )

        def start(self, source_ids_or_batch):
            return self.state_spec.initial(source_ids_or_batch)

        def read(self, token_ids, state):
            value = np.stack([token_ids, token_ids**2], 1).astype("float32")
            state = {
                "positions": np.concatenate([state["positions"], token_ids], 1),
                "value": np.concatenate([state["value"], value], 2),
                "last": token_ids[:, -1:].astype("float32"),
            }
            return np.zeros((*token_ids.shape, 5), "float32"), state

    vector = finish(embed_in_parts(Numbers(), Request((1, 2, 4)), 2))
    assert vector.tolist() == pytest.approx([7 / 3, 21 / 3, 4])
    with pytest.raises(InvalidOption, match="holds numbers of a text"):
        finish(embed_in_parts(Toy(), Request((1, 2)), 2))
