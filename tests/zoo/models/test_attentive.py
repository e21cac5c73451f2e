"""Recurrent decoders with attention against their papers' equations, one number after another."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from zoo.models.luong import LuongEncoderDecoder

_tests = Path(__file__).parents[2]
_table = runpy.run_path(str(_tests / "small_networks.py"))
_equations = runpy.run_path(str(_tests / "equations.py"))
gru_step, lstm_step, maxout, softmax = map(
    _equations.get, ("gru_step", "lstm_step", "maxout", "softmax")
)

SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0], [1, 0, 0, 0]], "int32")
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5], [9, 7, 9, 3, 2]], "int32")
UNITS = 8


def bahdanau(weights, source, target, options):
    """Bahdanau et al. 2015, appendix A: logits and weights of each token."""
    forward, backward = [np.zeros(UNITS)], [np.zeros(UNITS)]
    for token in source:
        forward.append(gru_step(weights, "forward", token, forward[-1]))
    for token in source[::-1]:
        backward.append(gru_step(weights, "backward", token, backward[-1]))
    h = [np.concatenate(pair) for pair in zip(forward[1:], backward[:0:-1], strict=True)]
    s = np.tanh(backward[-1] @ weights["first_state/kernel"] + weights["first_state/bias"])
    for y in target:
        e = [
            np.tanh(s @ weights["score/kernel"] + h_j @ weights["memory_key/kernel"])
            @ weights["score/vector"][:, 0]
            for h_j in h
        ]
        alpha = softmax(e)
        c = sum(a * h_j for a, h_j in zip(alpha, h, strict=True))
        yield maxout(weights, s, y, c), alpha
        s = gru_step(weights, "decoder", np.concatenate([y, c]), s)


def luong(weights, source, target, options):
    """Luong et al. 2015, equations 5 to 8: logits and weights of each token."""
    layers = [(np.zeros(UNITS), np.zeros(UNITS)) for _ in range(2)]

    def advance(side, x):
        for i, (h, c) in enumerate(layers):
            layers[i] = x, _ = lstm_step(weights, f"{side}_layer_{i}", x, h, c)
        return x

    order = -1 if options.get("reverse_source", True) else 1
    memory = [advance("encoder", x) for x in source[::order]][::order]
    a = np.zeros(UNITS)
    for y in target:
        fed = np.concatenate([y, a]) if options.get("input_feeding", True) else y
        h = advance("decoder", fed)
        kind = options.get("score", "general")
        if kind == "dot":
            scores = [h @ m for m in memory]
        elif kind == "general":
            scores = [h @ (m @ weights["memory_key/kernel"]) for m in memory]
        else:
            both = np.concatenate([weights["score/kernel"], weights["memory_key/kernel"]])
            v = weights["score/vector"][:, 0]
            scores = [np.tanh(np.concatenate([h, m]) @ both) @ v for m in memory]
        alpha = softmax(scores)
        c = sum(w * m for w, m in zip(alpha, memory, strict=True))
        a = np.tanh(np.concatenate([c, h]) @ weights["attentional/kernel"])
        yield a @ weights["logits/kernel"] + weights["logits/bias"], alpha


EQUATIONS = {
    name: bahdanau if name.startswith("bahdanau") else luong
    for name in _table["SMALL"]
    if name.startswith(("bahdanau", "luong"))
}


@pytest.mark.parametrize("name", EQUATIONS)
def test_logits_and_weights_are_those_of_the_equations(name):
    model = _table["backbone"](name)
    weights = _table["arrays"](model)
    inputs = {"token_ids": TOKENS, "encoder_token_ids": SOURCES}
    logits = ops.convert_to_numpy(model(inputs))
    (cross,) = model.attention(inputs).values()
    cross = ops.convert_to_numpy(cross)[:, 0]
    for row, source in enumerate(SOURCES):
        length = np.count_nonzero(source)
        source = weights["source_embedding/embeddings"][source[:length]]
        target = weights["token_embedding/embeddings"][TOKENS[row]]
        expected = EQUATIONS[name](weights, source, target, _table["SMALL"][name][1])
        for t, (expected_logits, alpha) in enumerate(expected):
            # Float32 against float64, with numbers of order one.
            np.testing.assert_allclose(logits[row, t], expected_logits, 1e-5, 1e-5)
            np.testing.assert_allclose(cross[row, t, :length], alpha, 1e-5, 1e-5)


def test_an_unknown_score_is_named():
    with pytest.raises(ValueError, match="score must be one of dot, general, concat, not 'cosine'"):
        LuongEncoderDecoder(11, score="cosine")
