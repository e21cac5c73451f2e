"""Every architecture decodes through the one loop."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from zoo.decoding import Options, Request, generate, score
from zoo.tasks import CausalLM, Seq2SeqLM
from zoo.tokenizers import train_characters

_table = runpy.run_path(str(Path(__file__).parents[1] / "small_networks.py"))
TOKENIZER = train_characters(["abcdefgh"])
assert TOKENIZER.vocabulary_size == _table["VOCABULARY_SIZE"]


@pytest.mark.parametrize("name", _table["SMALL"])
def test_what_is_written_step_by_step_has_the_score_of_the_whole(name):
    """The rows of beams move with their states, and texts of other requests don't touch them."""
    backbone = _table["backbone"](name)
    translates = hasattr(backbone.network, "encode")
    model = (Seq2SeqLM if translates else CausalLM)(backbone)
    kinds = [
        {},
        {"temperature": 1.5, "top_k": 5, "seed": 0},
        {"beam_size": 3, "n_best": 3},
    ]
    requests = [
        Request.of(
            TOKENIZER,
            "abc"[:i],
            "fed"[i:] if translates else None,
            Options(min_tokens=3, max_tokens=3, **kind),
            attention=True,
        )
        for i, kind in enumerate(kinds)
    ]
    results = generate(model, TOKENIZER, requests)
    written = [*results, *results[2].alternatives]
    requests = [*requests, *requests[2:] * 2]
    scored = score(model, TOKENIZER, requests, [result.token_ids for result in written])
    for ours, theirs in zip(written, scored, strict=True):
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, rtol=1e-4, atol=1e-4)
        assert ours.text == theirs.text
    assert len({result.token_ids for result in written[2:]}) == 3
    for request, result in zip(requests[:3], results):
        assert (result.attention is not None) == backbone.network.has_attention
        read = len(request.prompt_ids) + len(result.token_ids) - 1
        for weights_of, weights in (result.attention or {}).items():
            slots = len(request.source_ids) if weights_of.endswith("cross") else read
            assert weights.shape[1:] == (3, slots)
            np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
