"""The Transformer against its equations, one query and one head at a time in float64."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from zoo.backbone import Backbone
from zoo.models.transformer import TransformerLanguageModel
from zoo.tasks import CausalLM

_table = runpy.run_path(str(Path(__file__).parents[2] / "small_networks.py"))

NAMES = [name for name in _table["SMALL"] if name.startswith("transformer")]
TOKENS = np.array([3, 1, 4, 1, 5, 9], "int32")
HEADS, HEAD_DIM, WINDOW = 2, 4, 3


def dense(weights, name, x):
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def norm(weights, name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights[f"{name}/gamma"] + weights[f"{name}/beta"]


def gelu(x):
    return x * np.vectorize(lambda v: (1 + math.erf(v / 2**0.5)) / 2)(x)


def turned(x, position):
    """Su et al. 2021, equation 15: feature i and its partner turned by position * 10000^(-2i/d)."""
    half = len(x) // 2
    pairs = (x[:half] + 1j * x[half:]) * np.exp(
        1j * position * 10_000.0 ** (-2 * np.arange(half) / len(x))
    )
    return np.concatenate([pairs.real, pairs.imag])


def look(weights, layer, t, head, query, key, value, options):
    """What one head of the token at t sees: the sum of the values, weighted."""
    positions = options.get("positions", "learned")
    kind = options.get("attention", "full")
    seen = range(max(0, t - WINDOW + 1) if kind == "window" else 0, t + 1)
    query, keys, values = query[t], [key[j] for j in seen], [value[j] for j in seen]
    if kind == "linear":
        feature = lambda x: np.where(x > 0, x + 1, np.exp(x))  # noqa: E731
        scores = np.array([feature(query) @ feature(k) for k in keys])
        return scores @ np.array(values) / scores.sum()
    if positions == "rotary":
        query, keys = turned(query, t), [turned(k, j) for k, j in zip(keys, seen, strict=True)]
    if positions == "relative":
        distances = [min(t - j, WINDOW - 1) for j in seen]
        keys = [k + weights[f"{layer}/relative_key"][d] for k, d in zip(keys, distances)]
        values = [v + weights[f"{layer}/relative_value"][d] for v, d in zip(values, distances)]
    scores = np.array(keys) @ query / HEAD_DIM**0.5
    if positions == "alibi":
        scores -= 2.0 ** (-8 * (head + 1) / HEADS) * (t - np.array(seen))
    exponentials = np.exp(scores)
    return exponentials @ np.array(values) / exponentials.sum()


def attention(weights, layer, x, options):
    query, key, value = np.split(dense(weights, f"{layer}/query_key_value", x), 3, axis=-1)
    heads = [slice(h * HEAD_DIM, (h + 1) * HEAD_DIM) for h in range(HEADS)]
    seen = [
        np.concatenate(
            [
                look(weights, layer, t, h, query[:, s], key[:, s], value[:, s], options)
                for h, s in enumerate(heads)
            ]
        )
        for t in range(len(x))
    ]
    return dense(weights, f"{layer}/attention_output", np.array(seen))


def feedforward(weights, layer, x, options):
    x = dense(weights, f"{layer}/feedforward", x)
    x = gelu(x) if options.get("activation") == "gelu" else np.maximum(x, 0)
    return dense(weights, f"{layer}/feedforward_output", x)


def expected_logits(weights, ids, options):
    embeddings = weights["token_embedding/embeddings"]
    x, width = embeddings[ids], embeddings.shape[1]
    if options.get("positions", "learned") == "learned":
        x = x + weights["position_embedding/embeddings"][: len(ids)]
    if options.get("positions") == "sinusoidal":
        angles = np.arange(len(ids))[:, None] / 10_000 ** (np.arange(0, width, 2) / width)
        x = x * width**0.5 + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for i in range(2):
        layer = f"layer_{i}"
        for name, sublayer in [("attention", attention), ("feedforward", feedforward)]:
            if options.get("norm") == "post":
                x = norm(weights, f"{layer}/{name}_norm", x + sublayer(weights, layer, x, options))
            else:
                normed = norm(weights, f"{layer}/{name}_norm", x)
                x = x + sublayer(weights, layer, normed, options)
    if options.get("norm") != "post":
        x = norm(weights, "final_norm", x)
    return x @ weights.get("logits/kernel", embeddings.T)


def relabelled(model):
    """The weights by name, those inside a block under the name of the block."""
    inner = {}
    for weight in model.weights:
        parts = weight.path.split("/")
        start = next(i for i, p in enumerate(parts) if p.startswith("transformer")) + 1
        inner["/".join(parts[start:])] = np.asarray(weight.numpy(), "float64")
    return inner


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_equations(name):
    model = _table["backbone"](name)
    logits = ops.convert_to_numpy(model({"token_ids": TOKENS[None]}))[0]
    expected = expected_logits(relabelled(model), TOKENS, _table["SMALL"][name][1])
    # Float32 against float64, with logits of order one.
    np.testing.assert_allclose(logits, expected, 1e-5, 1e-5)


def test_linear_attention_over_several_chunks_is_its_quadratic_form():
    model = _table["backbone"]("transformer_linear")
    ids = np.random.default_rng(0).integers(1, 11, 150).astype("int32")  # 64 + 64 + 22
    expected = expected_logits(relabelled(model), ids, {"attention": "linear"})
    logits = ops.convert_to_numpy(model({"token_ids": ids[None]}))[0]
    # Sums over 150 tokens are some hundred times what they are over one.
    np.testing.assert_allclose(logits, expected, 1e-4, 1e-4)
    network = model.network
    first, state = network(ids[None, :100], network.state_spec.initial(1))
    rest, _ = network(ids[None, 100:], state)
    parts = np.concatenate([ops.convert_to_numpy(part)[0] for part in (first, rest)])
    np.testing.assert_allclose(parts, expected, 1e-4, 1e-4)


def test_the_state_of_linear_attention_does_not_grow():
    network = TransformerLanguageModel(11, attention="linear")
    assert all(leaf.kind == "carried" and leaf.slots is None for leaf in network.state_spec)


@pytest.mark.parametrize("attention", ["full", "linear"])
def test_padding_may_stand_beyond_the_last_learned_position(attention):
    network = TransformerLanguageModel(11, attention=attention, max_sequence_length=4)
    ids = np.array([[3, 1, 4, 1, 0, 0], [5, 0, 0, 0, 0, 0]], "int32")
    logits, state = network(ids, network.state_spec.initial(2))
    expected, _ = network(ids[:, :4])
    for row, length in enumerate([4, 1]):
        actual = ops.convert_to_numpy(logits)[row, :length]
        np.testing.assert_allclose(actual, ops.convert_to_numpy(expected)[row, :length], 0, 1e-5)
    more = np.array([[0], [9]], "int32")  # the first row is at its end
    logits, _ = network(more, {name: ops.convert_to_numpy(x) for name, x in state.items()})
    expected, _ = network(np.array([[5, 9]], "int32"))
    actual = ops.convert_to_numpy(logits)[1, 0]
    np.testing.assert_allclose(actual, ops.convert_to_numpy(expected)[0, 1], 0, 1e-5)


def test_more_tokens_than_learned_positions_are_an_error_at_once():
    ids = np.ones((1, 5), "int32")
    task = CausalLM(Backbone(TransformerLanguageModel(11, max_sequence_length=4)))
    with pytest.raises(ValueError, match="5 tokens are more than the 4"):
        task.backbone({"token_ids": ids})
    with pytest.raises(ValueError, match="5 tokens are more than the 4"):
        task.generate({"token_ids": ids, "padding_mask": ids}, stop_token_ids=None)
    unbounded = TransformerLanguageModel(11, positions="rotary", max_sequence_length=4)
    assert Backbone(unbounded)({"token_ids": ids}).shape == (1, 5, 11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "absolute"}, "positions must be one of learned, .*, not 'absolute'"),
        ({"attention": "local"}, "attention must be one of full, window, linear, not 'local'"),
        ({"norm": None}, "norm must be one of pre, post, not None"),
        ({"num_heads": 3}, "3 heads do not divide hidden_dim=128"),
        ({"attention": "linear", "positions": "alibi"}, "linear attention has no scores"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerLanguageModel(11, **options)
