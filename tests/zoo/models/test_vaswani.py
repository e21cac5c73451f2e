"""The Transformer against its equations in float64, and against torch's own."""

import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from zoo.backbone import EncoderDecoderBackbone
from zoo.models.vaswani import VaswaniEncoderDecoder

_tests = Path(__file__).parents[2]
_table = runpy.run_path(str(_tests / "small_networks.py"))
softmax = runpy.run_path(str(_tests / "equations.py"))["softmax"]

SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0]], "int32")
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], "int32")
INPUTS = {"token_ids": TOKENS, "encoder_token_ids": SOURCES}
WIDTH, HEADS, MAX_DISTANCE = 8, 2, 2


def array(weight):
    return np.asarray(ops.convert_to_numpy(weight), "float64")


def dense(layer, x):
    return x @ array(layer.kernel) + array(layer.bias)


def norm(layer, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * array(layer.gamma) + array(layer.beta)


def attention(query, key, value, causal=False, block=None):
    """Section 3.2, one query and one head at a time; Shaw et al. 2018, equations 3 and 4."""
    out = np.zeros_like(query)
    for head in np.split(np.arange(WIDTH), HEADS):
        for t in range(len(query)):
            slots = range(t + 1 if causal else len(key))
            keys, values = key[slots][:, head], value[slots][:, head]
            if block is not None:
                distances = [np.clip(t - j, -MAX_DISTANCE, MAX_DISTANCE) for j in slots]
                rows = distances if causal else np.array(distances) + MAX_DISTANCE
                keys = keys + array(block.relative_key)[rows]
                values = values + array(block.relative_value)[rows]
            out[t, head] = softmax(keys @ query[t, head] / len(head) ** 0.5) @ values
    return out


def run_block(network, block, x, memory=None):
    causal, relative = memory is not None, block if network.positions == "relative" else None

    def around(name, x, sublayer):
        layer = getattr(block, f"{name}_norm")
        return x + sublayer(norm(layer, x)) if block.norm == "pre" else norm(layer, x + sublayer(x))

    def itself(x):
        query, key, value = np.split(dense(block.query_key_value, x), 3, axis=-1)
        return dense(block.attention_output, attention(query, key, value, causal, relative))

    def look(x):
        key, value = np.split(dense(block.memory_key_value, memory), 2, axis=-1)
        return dense(block.memory_output, attention(dense(block.memory_query, x), key, value))

    x = around("attention", x, itself)
    if memory is not None:
        x = around("memory", x, look)
    feedforward = lambda x: np.maximum(dense(block.feedforward, x), 0)  # noqa: E731
    return around("feedforward", x, lambda x: dense(block.feedforward_output, feedforward(x)))


def embedded(network, layer, ids):
    x = array(layer.embeddings)[ids] * WIDTH**0.5
    if network.positions != "sinusoidal":
        return x
    angles = np.arange(len(ids))[:, None] / 10_000 ** (np.arange(0, WIDTH, 2) / WIDTH)
    return x + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def expected_logits(network, source, target):
    x = embedded(network, network.source_embedding, source)
    for block in network.encoder_blocks:
        x = run_block(network, block, x)
    memory = norm(network.encoder_norm, x) if network.encoder_norm else x
    x = embedded(network, network.token_embedding, target)
    for block in network.decoder_blocks:
        x = run_block(network, block, x, memory)
    x = norm(network.decoder_norm, x) if network.decoder_norm else x
    tied = network.output_dense is None
    return x @ (
        array(network.token_embedding.embeddings).T if tied else array(network.output_dense.kernel)
    )


@pytest.mark.parametrize("name", ["vaswani", "vaswani_pre"])
def test_logits_are_those_of_the_equations(name):
    model = _table["backbone"](name)
    logits = ops.convert_to_numpy(model(INPUTS))
    for row, source in enumerate(SOURCES):
        expected = expected_logits(model.network, source[source != 0], TOKENS[row])
        # Float32 against float64, with logits of order one.
        np.testing.assert_allclose(logits[row], expected, 1e-5, 1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="against torch's own layers")
def test_logits_are_those_of_torch(norm):
    import torch
    from torch import nn

    keras.utils.set_random_seed(0)
    network = VaswaniEncoderDecoder(
        11, num_layers=2, num_heads=HEADS, hidden_dim=WIDTH, norm=norm, dropout=0.0
    )
    logits = EncoderDecoderBackbone(network)(INPUTS)
    common = {
        "dim_feedforward": 4 * WIDTH,
        "dropout": 0.0,
        "batch_first": True,
        "norm_first": norm == "pre",
    }
    final = lambda: nn.LayerNorm(WIDTH) if norm == "pre" else None  # noqa: E731
    theirs = nn.Transformer(
        WIDTH,
        HEADS,
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(WIDTH, HEADS, **common), 2, final(), False
        ),
        custom_decoder=nn.TransformerDecoder(
            nn.TransformerDecoderLayer(WIDTH, HEADS, **common), 2, final()
        ),
        batch_first=True,
    ).eval()

    def load(layer, kernel, bias=None):
        weight = layer.in_proj_weight if hasattr(layer, "in_proj_weight") else layer.weight
        weight.data = torch.tensor(kernel).float().T.contiguous()
        (layer.in_proj_bias if hasattr(layer, "in_proj_bias") else layer.bias).data = torch.tensor(
            bias
        ).float()

    def load_dense(layer, ours):
        load(layer, array(ours.kernel), array(ours.bias))

    for theirs_side, blocks in (
        (theirs.encoder, network.encoder_blocks),
        (theirs.decoder, network.decoder_blocks),
    ):
        for layer, block in zip(theirs_side.layers, blocks, strict=True):
            load_dense(layer.self_attn, block.query_key_value)
            load_dense(layer.self_attn.out_proj, block.attention_output)
            load_dense(layer.linear1, block.feedforward)
            load_dense(layer.linear2, block.feedforward_output)
            if block.has_memory:
                pair = block.memory_query, block.memory_key_value
                kernel = np.concatenate([array(x.kernel) for x in pair], axis=1)
                load(layer.multihead_attn, kernel, np.concatenate([array(x.bias) for x in pair]))
                load_dense(layer.multihead_attn.out_proj, block.memory_output)

    def embed(ids):
        x = [embedded(network, network.token_embedding, row) for row in ids]
        return torch.tensor(np.array(x)).float()

    x = theirs(
        embed(SOURCES),
        embed(TOKENS),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(TOKENS.shape[1]),
        src_key_padding_mask=torch.tensor(SOURCES == 0),
        memory_key_padding_mask=torch.tensor(SOURCES == 0),
        tgt_is_causal=True,
    )
    expected = x.detach().numpy() @ array(network.token_embedding.embeddings).T
    np.testing.assert_allclose(ops.convert_to_numpy(logits), expected, 1e-4, 1e-5)


def test_one_vocabulary_has_one_embedding():
    tied = VaswaniEncoderDecoder(11, num_layers=1, num_heads=1, hidden_dim=4)
    assert tied.source_embedding is tied.token_embedding
    two = VaswaniEncoderDecoder(11, 11, num_layers=1, num_heads=1, hidden_dim=4)
    assert two.source_embedding is not two.token_embedding
    model = EncoderDecoderBackbone(tied)
    assert sum("embedding" in weight.path for weight in model.weights) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "positions must be one of sinusoidal, relative, not 'rotary'"),
        ({"norm": "sandwich"}, "norm must be one of pre, post, not 'sandwich'"),
        ({"num_heads": 3}, "3 heads do not divide hidden_dim=512"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        VaswaniEncoderDecoder(11, **options)
