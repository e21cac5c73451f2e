"""Decoder-only Transformer language model.

Ashish Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, the decoder without its
encoder, as in Alec Radford et al., "Improving Language Understanding by Generative Pre-Training",
2018. Options from: Xiong et al. 2020 (pre-norm, arXiv:2002.04745), Shaw et al. 2018 (relative
positions, arXiv:1803.02155), Su et al. 2021 (rotary, arXiv:2104.09864), Press et al. 2022 (ALiBi,
arXiv:2108.12409), Beltagy et al. 2020 (local windows, arXiv:2004.05150), Katharopoulos et al. 2020
(linear attention, arXiv:2006.16236).
"""

import keras
from keras import ops

from zoo.backbone import Network, lengths
from zoo.contract import PAD_ID, Leaf, StateSpec
from zoo.layers import cache
from zoo.layers.block import NORMS, Block, layer_norm
from zoo.layers.dense import Dense, tied
from zoo.layers.positions import sinusoids

POSITIONS = ("learned", "sinusoidal", "relative", "rotary", "alibi")
ATTENTION = ("full", "window", "linear")


@keras.saving.register_keras_serializable("zoo")
class TransformerLanguageModel(Network):
    """Blocks of causal self-attention and a feedforward network, each around a residual stream.

    post-norm (2017):  x = LayerNorm(x + Sublayer(x))
    pre-norm:          x = x + Sublayer(LayerNorm(x)), and a LayerNorm before the logits

    Args:
        vocabulary_size: number of token ids.
        num_layers: number of blocks, N.
        num_heads: attention heads, h; they share `hidden_dim` evenly.
        hidden_dim: width of the residual stream, d_model.
        intermediate_dim: width inside the feedforward network, d_ff; `None`: 4 `hidden_dim`.
        positions: "learned", "sinusoidal", "relative" (Shaw), "rotary" or "alibi".
        max_sequence_length: most tokens of a sequence, for learned positions only.
        attention: "full", "window" (the last `window` tokens) or "linear", whose state does not
            grow with the sequence.
        window: how far back a local window reaches, the token itself counted; and the distance from
            which on relative positions are the same.
        norm: "pre" or "post".
        tie_embeddings: the output layer is the transposed embedding (section 3.4).
        activation: of the feedforward network; the paper's is "relu".
        dropout: share of the embeddings and of each sublayer's output that is dropped.

    Raises:
        ValueError: an option is none of these, the heads do not divide the width, or linear
            attention is to have positions that act on scores it does not have.
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers=4,
        num_heads=4,
        hidden_dim=128,
        intermediate_dim=None,
        positions="learned",
        max_sequence_length=256,
        attention="full",
        window=64,
        norm="pre",
        tie_embeddings=True,
        activation="relu",
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check("positions", positions, POSITIONS)
        _check("attention", attention, ATTENTION)
        _check("norm", norm, NORMS)
        if hidden_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide hidden_dim={hidden_dim}")
        if attention == "linear" and positions in ("relative", "alibi"):
            raise ValueError(
                f"linear attention has no scores for positions={positions!r} to act on"
            )
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.positions = positions
        self.attention = attention
        self.norm = norm
        self.max_length = max_sequence_length if positions == "learned" else None
        policy, normal = self.dtype_policy, keras.initializers.RandomNormal(stddev=0.02)
        self.token_embedding = keras.layers.Embedding(
            vocabulary_size, hidden_dim, normal, dtype=policy, name="token_embedding"
        )
        if positions == "learned":
            self.position_embedding = keras.layers.Embedding(
                max_sequence_length, hidden_dim, normal, dtype=policy, name="position_embedding"
            )
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.blocks = [
            Block(
                num_heads=num_heads,
                intermediate_dim=intermediate_dim or 4 * hidden_dim,
                positions=positions,
                attention=attention,
                window=window,
                norm=norm,
                activation=activation,
                dropout=dropout,
                stddev=0.02,
                # The residual stream is the sum of 2N sublayers (Radford et al. 2019, section 2.3).
                residual_stddev=0.02 * (2 * num_layers) ** -0.5,
                dtype=policy,
                name=f"layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.final_norm = layer_norm(policy, "final_norm") if norm == "pre" else None
        self.output_dense = None
        if not tie_embeddings:
            self.output_dense = Dense(
                vocabulary_size, None, False, normal, dtype=policy, name="logits"
            )

    @property
    def has_attention(self):
        return self.attention != "linear"  # which has sums and no weights

    @property
    def state_spec(self):
        width = self.hidden_dim // self.num_heads
        if self.attention != "linear":
            return StateSpec(cache.leaves(self.num_layers, self.num_heads, width))
        sums = [
            Leaf(f"layer_{i}/sums", (self.num_heads, width, width + 1))
            for i in range(self.num_layers)
        ]
        return StateSpec((Leaf("position", (), "int32"), *sums))

    def call(self, token_ids, state=None, padded=True, attention=False):
        kind = _Sums if self.attention == "linear" else cache.KeyValueCache
        past = kind(token_ids, state)
        x = self.token_embedding(token_ids)  # (batch, time, hidden_dim)
        if self.positions == "learned":
            x = x + self.position_embedding(past.query_positions)
        if self.positions == "sinusoidal":
            x = x * self.hidden_dim**0.5
            x = x + ops.cast(sinusoids(past.query_positions, self.hidden_dim), x.dtype)
        x, weights = self.dropout(x), {}
        for i, block in enumerate(self.blocks):
            x, seen = block(x, past=past, prefix=f"layer_{i}", want_weights=attention)
            weights |= {f"layer_{i}/{name}": array for name, array in seen.items()}
        if self.final_norm:
            x = self.final_norm(x)
        logits = self.output_dense(x) if self.output_dense else tied(x, self.token_embedding)
        logits = ops.cast(logits, "float32")
        return (logits, past.state, weights) if attention else (logits, past.state)


class _Sums:
    """The state of linear attention: sum_j phi(k_j) [v_j, 1]^T of each head, all tokens so far.

    Katharopoulos et al. 2020, equations 9 to 12, with phi(x) = elu(x) + 1 (equation 7); the 1
    behind each value sums up to the denominator. Tokens of one chunk see each other through the
    matrix that the sums stand for, and earlier chunks through their sums, so that time and memory
    are linear in the length of the call.
    """

    chunk = 64

    def __init__(self, token_ids, state):
        self._before = state
        self._real = ops.not_equal(token_ids, PAD_ID)
        time = ops.expand_dims(ops.arange(ops.shape(token_ids)[1]), 0)
        if state is None:
            self.query_positions, self.state = time, {}
        else:
            positions = ops.expand_dims(state["position"], 1) + time
            self.query_positions = ops.where(self._real, positions, 0)
            self.state = {"position": state["position"] + lengths(token_ids)}

    def attend(self, name, query, key, value):
        """phi(q_i) S_i, its last number dividing the others, for each token; adds to the sums."""
        dtype, time = query.dtype, ops.shape(query)[2]
        query, key, value = (ops.cast(x, "float32") for x in (query, key, value))
        key = ops.where(self._real[:, None, :, None], ops.elu(key) + 1, 0.0)
        value = ops.concatenate([value, ops.ones_like(value[..., :1])], axis=-1)
        size = _minimum(time, self.chunk)
        query, key, value = (_chunks(x, size) for x in (ops.elu(query) + 1, key, value))
        key = ops.swapaxes(key, 3, 4)
        own = ops.matmul(key, value)  # (batch, heads, chunks, head_dim, head_dim + 1)
        sums = ops.cumsum(own, axis=2)
        if self._before is not None:
            before = ops.cast(self._before[f"{name}/sums"], "float32")  # Keras makes it half
            sums += ops.expand_dims(before, 2)
            self.state[f"{name}/sums"] = sums[:, :, -1]
        total = ops.matmul(ops.tril(ops.matmul(query, key)), value) + ops.matmul(query, sums - own)
        batch, heads, _, _, width = ops.shape(total)
        total = ops.reshape(total, (batch, heads, -1, width))[:, :, :time]
        return ops.cast(total[..., :-1] / (total[..., -1:] + 1e-6), dtype)


def _minimum(time, most):
    if isinstance(time, int):
        return min(time, most)
    # A tensor where a graph has a dynamic axis, and on jax, while it infers shapes, a symbol.
    return ops.minimum(time, most) if ops.is_tensor(time) else time


def _chunks(x, size):
    """`(batch, heads, time, width)` -> `(batch, heads, chunks, size, width)`, filled with zeros."""
    batch, heads, time, width = ops.shape(x)
    missing = (size - time % size) % size  # -time % size would be negative in an exported graph
    x = ops.pad(x, [(0, 0), (0, 0), (0, missing), (0, 0)])
    return ops.reshape(x, (batch, heads, -1, size, width))


def _check(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


CONFIGURATIONS = {
    "makemore": {
        "vocabulary_size": 27,
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 64,
        "max_sequence_length": 16,
        "tie_embeddings": False,
        "activation": "gelu",
    },
    "nanogpt_cpu": {
        "vocabulary_size": 65,
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 128,
        "max_sequence_length": 64,
        "activation": "gelu",
    },
    "gpt_2018": {
        "vocabulary_size": 40_478,
        "num_layers": 12,
        "num_heads": 12,
        "hidden_dim": 768,
        "max_sequence_length": 512,
        "norm": "post",
        "activation": "gelu",
        "dropout": 0.1,
    },
    "gpt2_small": {
        "vocabulary_size": 50_257,
        "num_layers": 12,
        "num_heads": 12,
        "hidden_dim": 768,
        "max_sequence_length": 1024,
        "activation": "gelu",
        "dropout": 0.1,
    },
    "vaswani_2017_base": {
        "vocabulary_size": 37_000,
        "num_layers": 6,
        "num_heads": 8,
        "hidden_dim": 512,
        "intermediate_dim": 2048,
        "positions": "sinusoidal",
        "norm": "post",
        "dropout": 0.1,
    },
}
"""The defaults of makemore; nanoGPT's for a CPU; GPT (Radford et al. 2018, section 4.1) and the
smallest GPT-2 (2019, table 2); the base model of Vaswani et al. 2017 (table 3) without encoder."""
