"""The block that a Transformer is a stack of, be it encoder, decoder or both in one."""

import keras
from keras import ops

from zoo.layers.attention import attend, merge_heads, softmax, split_heads, weights
from zoo.layers.dense import Dense
from zoo.layers.positions import alibi_slopes, rotate

NORMS = ("pre", "post")


class Block(keras.layers.Layer):
    """Self-attention, attention to a memory where there is one, and a feedforward network.

    post-norm (Vaswani et al. 2017):  x = LayerNorm(x + Sublayer(x))
    pre-norm (Xiong et al. 2020):     x = x + Sublayer(LayerNorm(x))

    Args:
        num_heads: attention heads, h; they share the width of `x` evenly.
        intermediate_dim: width inside the feedforward network.
        positions: those that act inside attention are "relative", "rotary" and "alibi".
        attention: "full", "window" or "linear"; the last two look back only.
        window: how far back a local window reaches, the token itself counted; and the distance from
            which on relative positions are the same.
        bidirectional: whether tokens see those behind them too, as in an encoder.
        has_memory: whether there is attention to a memory.
        norm: "pre" or "post".
        activation: of the feedforward network.
        dropout: share of each sublayer's output that is dropped.
        stddev: standard deviation of the matrices before training; `None`: Glorot's uniform.
        residual_stddev: the same for matrices that write to the residual stream.

    Call arguments:
        x: `(batch, time, hidden_dim)`.
        past: what the tokens of this call see of each other and of those before them: a
            `KeyValueCache`, or a `Source`, or what else has their methods.
        prefix: of the names of the leaves in `past`.
        memory: what `remember` gives, and which slots hold a token, `(sources, 1, slots)`.
        want_weights: whether to give the attention weights.

    Returns:
        `(x, weights)`: `"self"` and `"cross"`, `(batch, heads, time, slots)` each, as far as there
        are any and they are wanted.
    """

    def __init__(
        self,
        num_heads,
        intermediate_dim,
        positions,
        norm,
        activation,
        dropout,
        attention="full",
        window=None,
        bidirectional=False,
        has_memory=False,
        stddev=None,
        residual_stddev=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.positions = positions
        self.attention = attention
        self.window = window
        self.bidirectional = bidirectional
        self.has_memory = has_memory
        self.norm = norm
        self.activation = activation
        self.stddev = stddev
        self.residual_stddev = residual_stddev
        self.attention_norm = layer_norm(self.dtype_policy, "attention_norm")
        if has_memory:
            self.memory_norm = layer_norm(self.dtype_policy, "memory_norm")
        self.feedforward_norm = layer_norm(self.dtype_policy, "feedforward_norm")
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, input_shape):
        hidden_dim = input_shape[-1]

        def dense(units, name, stddev=self.stddev, activation=None):
            # One initializer for several weights would give them the same values.
            initializer = keras.initializers.RandomNormal(stddev=stddev) if stddev else None
            return Dense(
                units,
                activation,
                kernel_initializer=initializer or "glorot_uniform",
                dtype=self.dtype_policy,
                name=name,
            )

        def writing(name):
            return dense(hidden_dim, name, self.residual_stddev)

        self.query_key_value = dense(3 * hidden_dim, "query_key_value")
        self.attention_output = writing("attention_output")
        if self.has_memory:
            self.memory_query = dense(hidden_dim, "memory_query")
            self.memory_key_value = dense(2 * hidden_dim, "memory_key_value")
            self.memory_key_value.build((None, None, hidden_dim))  # used outside of `call`
            self.memory_output = writing("memory_output")
        self.feedforward = dense(self.intermediate_dim, "feedforward", activation=self.activation)
        self.feedforward_output = writing("feedforward_output")
        if self.positions == "relative":
            distances = self.window + (self.window - 1 if self.bidirectional else 0)
            shape = (distances, hidden_dim // self.num_heads)
            self.relative_key = self.add_weight(shape, "glorot_uniform", name="relative_key")
            self.relative_value = self.add_weight(shape, "glorot_uniform", name="relative_value")

    def call(self, x, past, prefix, memory=None, want_weights=False):
        seen = {}
        y = self.before(self.attention_norm, x)
        y, seen["self"] = self.attend(y, past, prefix, want_weights)
        x = self.after(self.attention_norm, x, y)
        if memory:
            y = self.before(self.memory_norm, x)
            y, seen["cross"] = self.recall(y, past, memory, want_weights)
            x = self.after(self.memory_norm, x, y)
        y = self.transform(self.before(self.feedforward_norm, x))
        x = self.after(self.feedforward_norm, x, y)
        return x, {name: weights for name, weights in seen.items() if weights is not None}

    def before(self, norm, x):
        """What a sublayer is given of the residual stream."""
        return norm(x) if self.norm == "pre" else x

    def after(self, norm, x, y):
        """The residual stream with what the sublayer made of it."""
        x = x + self.dropout(y)
        return x if self.norm == "pre" else norm(x)

    def transform(self, x):
        """max(0, x W_1 + b_1) W_2 + b_2   (Vaswani et al. 2017, equation 2)."""
        return self.feedforward_output(self.feedforward(x))

    # === Attention to the sequence itself ===

    def attend(self, x, past, prefix, want_weights):
        """Multi-head self-attention (section 3.2.2) over this call's tokens and those before."""
        query, key, value = self.heads(self.query_key_value(x), 3)
        if self.positions == "rotary":
            both = ops.concatenate([query, key], axis=1)
            query, key = ops.split(rotate(both, past.query_positions), 2, axis=1)
        if self.attention == "linear":
            x, seen = past.attend(prefix, query, key, value), None
        else:
            key = past.append(f"{prefix}/key", key)
            value = past.append(f"{prefix}/value", value)
            x, seen = self.look(query, key, value, past, want_weights)
        return self.attention_output(merge_heads(x)), seen

    def heads(self, x, parts):
        """`(batch, time, parts * hidden_dim)` -> as many of `(batch, heads, time, head_dim)`."""
        return ops.split(split_heads(x, parts * self.num_heads), parts, axis=1)

    def look(self, query, key, value, past, want_weights):
        """Attention over the slots of a cache, with what the positions add to it."""
        window = self.window if self.attention == "window" else None
        if self.positions == "relative":
            mask = past.visible(window)
            return self.look_by_distance(query, key, value, past, mask, want_weights)
        causal = past.is_new and window is None and not self.bidirectional
        mask, bias = None if causal else past.visible(window), None
        if self.positions == "alibi":
            slopes = ops.cast(alibi_slopes(self.num_heads)[:, None, None], query.dtype)
            bias = -slopes * ops.cast(past.distances()[:, None], query.dtype)
        seen = weights(query, key, mask, bias, causal) if want_weights else None
        return attend(query, key, value, mask, bias, causal), seen

    def look_by_distance(self, query, key, value, past, mask, want_weights):
        """e_ij = q_i (k_j + a^K_ij) / sqrt(d),  z_i = sum_j alpha_ij (v_j + a^V_ij).

        Shaw et al. 2018, equations 3 and 4; the distance is clipped (section 3.2).
        """
        most = self.window - 1
        least = -most if self.bidirectional else 0
        distances = ops.clip(past.distances(), least, most) - least
        rows = "t" if past.is_new else "bt"  # whole sequences have their distances in common
        distances = distances[0] if past.is_new else distances
        relative_key = ops.cast(ops.take(self.relative_key, distances, axis=0), query.dtype)
        relative_value = ops.cast(ops.take(self.relative_value, distances, axis=0), query.dtype)
        scores = ops.matmul(query, ops.swapaxes(key, 2, 3))
        scores = scores + ops.einsum(f"bhtd,{rows}sd->bhts", query, relative_key)
        alpha = softmax(scores * query.shape[-1] ** -0.5, mask[:, None])
        x = ops.matmul(alpha, value) + ops.einsum(f"bhts,{rows}sd->bhtd", alpha, relative_value)
        return x, alpha if want_weights else None

    # === Attention to a memory ===

    def remember(self, memory):
        """Keys and values of a memory `(batch, slots, hidden_dim)`, which every call needs."""
        if not self.built:
            self.build(memory.shape)
        return self.heads(self.memory_key_value(memory), 2)

    def recall(self, x, past, memory, want_weights):
        """Multi-head attention over the slots of a memory."""
        key, value, mask = memory
        heads, width = self.num_heads, x.shape[-1]
        # The rows of one source, such as beams, look at it as more tokens of one row would. The
        # sizes are those of arrays that all layers have in common, to be looked up once.
        sources, time = ops.shape(mask)[0], ops.shape(past.query_positions)[1]
        query = ops.reshape(self.memory_query(x), (sources, -1, heads, width // heads))
        query = ops.swapaxes(query, 1, 2)
        x = ops.swapaxes(attend(query, key, value, mask), 1, 2)
        seen = weights(query, key, mask) if want_weights else None
        return self.memory_output(ops.reshape(x, (-1, time, width))), seen


def layer_norm(policy, name):
    """LayerNorm(x) = (x - mean) / sqrt(variance + 1e-5) * gamma + beta."""
    return keras.layers.LayerNormalization(epsilon=1e-5, dtype=policy, name=name)
