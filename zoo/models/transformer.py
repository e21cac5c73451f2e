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
from zoo.layers.attention import attend, merge_heads, split_heads, weights
from zoo.layers.dense import Dense, project
from zoo.layers.positions import alibi_slopes, rotate, sinusoids

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
        _check("norm", norm, ("pre", "post"))
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
                # The residual stream is the sum of 2N sublayers (Radford et al. 2019, section 2.3).
                residual_scale=(2 * num_layers) ** -0.5,
                dtype=policy,
                name=f"layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.final_norm = _layer_norm(policy, "final_norm") if norm == "pre" else None
        self.output_dense = None
        if not tie_embeddings:
            self.output_dense = Dense(
                vocabulary_size, None, False, normal, dtype=policy, name="logits"
            )

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

    def call(self, token_ids, state=None, padded=True):
        kind = _Sums if self.attention == "linear" else cache.KeyValueCache
        past = kind(token_ids, state)
        x = self.token_embedding(token_ids)  # (batch, time, hidden_dim)
        if self.positions == "learned":
            x = x + self.position_embedding(past.query_positions)
        if self.positions == "sinusoidal":
            x = x * self.hidden_dim**0.5
            x = x + ops.cast(sinusoids(past.query_positions, self.hidden_dim), x.dtype)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            x = block(x, past=past, prefix=f"layer_{i}")
        if self.final_norm:
            x = self.final_norm(x)
        if self.output_dense:
            logits = self.output_dense(x)
        else:
            embeddings = ops.cast(self.token_embedding.embeddings, x.dtype)
            logits = project(x, ops.transpose(embeddings))
        return ops.cast(logits, "float32"), past.state


class Block(keras.layers.Layer):
    """Self-attention, then two dense layers; the arguments are those of the language model."""

    def __init__(
        self,
        num_heads,
        intermediate_dim,
        positions,
        attention,
        window,
        norm,
        activation,
        dropout,
        residual_scale,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.positions = positions
        self.attention = attention
        self.window = window
        self.norm = norm
        self.activation = activation
        self.residual_scale = residual_scale
        self.attention_norm = _layer_norm(self.dtype_policy, "attention_norm")
        self.feedforward_norm = _layer_norm(self.dtype_policy, "feedforward_norm")
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        hidden_dim = input_shape[-1]

        def dense(units, name, stddev=0.02, activation=None):
            initializer = keras.initializers.RandomNormal(stddev=stddev)
            return Dense(units, activation, True, initializer, dtype=self.dtype_policy, name=name)

        residual = 0.02 * self.residual_scale
        self.query_key_value = dense(3 * hidden_dim, "query_key_value")
        self.attention_output = dense(hidden_dim, "attention_output", residual)
        self.feedforward = dense(self.intermediate_dim, "feedforward", activation=self.activation)
        self.feedforward_output = dense(hidden_dim, "feedforward_output", residual)
        if self.positions == "relative":
            shape = (self.window, hidden_dim // self.num_heads)
            self.relative_key = self.add_weight(shape, "glorot_uniform", name="relative_key")
            self.relative_value = self.add_weight(shape, "glorot_uniform", name="relative_value")

    def call(self, x, past, prefix):
        if self.norm == "pre":
            x = x + self.attend(self.attention_norm(x), past, prefix)
            return x + self.transform(self.feedforward_norm(x))
        x = self.attention_norm(x + self.attend(x, past, prefix))
        return self.feedforward_norm(x + self.transform(x))

    def transform(self, x):
        """max(0, x W_1 + b_1) W_2 + b_2   (Vaswani et al. 2017, equation 2)."""
        return self.dropout(self.feedforward_output(self.feedforward(x)))

    def attend(self, x, past, prefix):
        """Multi-head self-attention (section 3.2.2) over this call's tokens and those before."""
        query, key, value = (
            split_heads(part, self.num_heads)
            for part in ops.split(self.query_key_value(x), 3, axis=-1)
        )
        if self.positions == "rotary":
            query = rotate(query, past.query_positions)
            key = rotate(key, past.query_positions)
        if self.attention == "linear":
            x = past.attend(prefix, query, key, value)
        else:
            key = past.append(f"{prefix}/key", key)
            value = past.append(f"{prefix}/value", value)
            x = self.look(query, key, value, past)
        return self.dropout(self.attention_output(merge_heads(x)))

    def look(self, query, key, value, past):
        """Attention over the slots of a cache, with what the positions add to it."""
        window = self.window if self.attention == "window" else None
        causal = past.is_new and window is None
        mask = None if causal else past.visible(window)
        if self.positions == "alibi":
            slopes = ops.cast(alibi_slopes(self.num_heads)[:, None, None], query.dtype)
            bias = -slopes * ops.cast(past.distances()[:, None], query.dtype)
            return attend(query, key, value, mask, bias, causal)
        if self.positions == "relative":
            return self.look_by_distance(query, key, value, past, past.visible(window))
        return attend(query, key, value, mask, causal=causal)

    def look_by_distance(self, query, key, value, past, mask):
        """e_ij = q_i (k_j + a^K_ij) / sqrt(d),  z_i = sum_j alpha_ij (v_j + a^V_ij).

        Shaw et al. 2018, equations 3 and 4; the distance is clipped (section 3.2).
        """
        distances = ops.clip(past.distances(), 0, self.window - 1)
        rows = "t" if past.is_new else "bt"  # whole sequences have their distances in common
        distances = distances[0] if past.is_new else distances
        relative_key = ops.cast(ops.take(self.relative_key, distances, axis=0), query.dtype)
        relative_value = ops.cast(ops.take(self.relative_value, distances, axis=0), query.dtype)
        scores = ops.matmul(query, ops.swapaxes(key, 2, 3))
        scores = scores + ops.einsum(f"bhtd,{rows}sd->bhts", query, relative_key)
        alpha = weights(scores * query.shape[-1] ** -0.5, mask)
        return ops.matmul(alpha, value) + ops.einsum(f"bhts,{rows}sd->bhtd", alpha, relative_value)


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
            sums += ops.expand_dims(self._before[f"{name}/sums"], 2)
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


def _layer_norm(policy, name):
    return keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=name)


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
