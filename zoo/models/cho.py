"""GRU encoder-decoder whose decoder sees one fixed vector at every step.

Kyunghyun Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
Machine Translation", 2014, arXiv:1406.1078; and the second encoder of Cho, van Merrienboer,
Bahdanau and Bengio, "On the Properties of Neural Machine Translation: Encoder-Decoder Approaches",
2014, arXiv:1409.1259.
"""

import keras
from keras import ops

from zoo.backbone import EncoderDecoder, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers import memory
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.maxout import MaxoutOutput
from zoo.layers.recurrence import recurrence
from zoo.layers.recurrent import GRU, orthogonal
from zoo.layers.sequence import zeros

ENCODERS = ("gru", "grconv")


@keras.saving.register_keras_serializable("zoo")
class ChoEncoderDecoder(EncoderDecoder):
    """The source becomes one vector c, which every step of the decoder and of the output is given.

    c = tanh(V h_N),  h'_0 = tanh(V' c)
    z, r = sigmoid(W e(y_{t-1}) + U h'_{t-1} + C c)
    g = tanh(W e(y_{t-1}) + r * (U h'_{t-1} + C c))
    h'_t = z * h'_{t-1} + (1 - z) * g   (appendix A.1.2; each gate has a W, U and C of its own)

    h_N is what the encoder makes of the source: the last state of a GRU, or the top of a gated
    recursive convolution. The output is `MaxoutOutput` of h'_t, e(y_{t-1}) and c.

    Args:
        vocabulary_size: number of target token ids.
        source_vocabulary_size: number of source token ids; `None`: as many as of the target.
        units: width of the hidden states.
        embedding_dim: width of the embeddings e.
        maxout_units: width of the output's hidden layer.
        encoder: "gru", or "grconv" (arXiv:1409.1259, section 2.2).
        encoder_units: width of the encoder's hidden states; `None`: `units`.
        dropout: share of the embeddings, and of what the output is given of h', that is dropped.

    Raises:
        ValueError: there is no such encoder.
    """

    def __init__(
        self,
        vocabulary_size,
        source_vocabulary_size=None,
        units=1000,
        embedding_dim=100,
        maxout_units=500,
        encoder="gru",
        encoder_units=None,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if encoder not in ENCODERS:
            raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, not {encoder!r}")
        self.vocabulary_size = vocabulary_size
        self.units = units
        policy = self.dtype_policy

        def dense(width, name, activation=None, use_bias=True):
            return Dense(width, activation, use_bias, dtype=policy, name=name)

        self.source_embedding = token_embedding(
            source_vocabulary_size or vocabulary_size, embedding_dim, policy, "source_embedding"
        )
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim, policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.encoder_units = encoder_units or units
        if encoder == "gru":
            self.encoder = GRU(self.encoder_units, reset_after=False, dtype=policy, name="encoder")
        else:
            self.encoder = GatedRecursiveConvolution(
                self.encoder_units, dtype=policy, name="encoder"
            )
        self.summary = dense(units, "summary", "tanh")  # V
        self.first_state = dense(units, "first_state", "tanh")  # V'
        self.from_token = dense(3 * units, "from_token")  # W, of z, r and g
        self.from_context = dense(3 * units, "from_context", use_bias=False)  # C
        self.output_layer = MaxoutOutput(vocabulary_size, maxout_units, dtype=policy, name="output")

    def build(self, input_shape):
        shape = (self.units, 3 * self.units)
        self.recurrent_kernel = self.add_weight(shape, orthogonal(), name="recurrent_kernel")  # U

    @property
    def state_spec(self):
        return StateSpec(
            (Leaf("h", (self.units,)), Leaf("context", (self.units,), kind="constant"))
        )

    def encode(self, source_ids):
        x = self.dropout(self.source_embedding(source_ids))
        _, (h,) = self.encoder(x, (zeros(x, self.encoder_units),), lengths(source_ids))
        c = self.summary(h)
        return {"h": ops.cast(self.first_state(c), "float32"), "context": ops.cast(c, "float32")}

    def call(self, token_ids, state, padded=True):
        length = lengths(token_ids) if padded else None
        token = self.dropout(self.token_embedding(token_ids))  # (batch, time, embedding_dim)
        context = ops.cast(memory.by_row(state["context"], ops.shape(token_ids)[0]), token.dtype)
        from_context = self.from_context(context)

        def step(x, hidden):
            (h,) = hidden
            z, r, g = ops.split(x, 3, axis=-1)
            hz, hr, hg = ops.split(ops.matmul(h, self.recurrent_kernel) + from_context, 3, axis=-1)
            z, r = ops.sigmoid(z + hz), ops.sigmoid(r + hr)
            return [z * h + (1 - z) * ops.tanh(g + r * hg)]

        first = [ops.cast(state["h"], token.dtype)]
        hidden, (last,) = recurrence(step, first, self.from_token(token), length)
        logits = self.output_layer(self.dropout(hidden), token, ops.expand_dims(context, 1))
        return logits, {"h": ops.cast(last, "float32")}


class GatedRecursiveConvolution(keras.layers.Layer):
    """Neighbours merge, level by level, until one vector stands for the whole sentence.

    h^0_j = U x_j,  g_j = f(W^l h^{t-1}_{j-1} + W^r h^{t-1}_j)
    w_c, w_l, w_r = softmax(G^l h^{t-1}_{j-1} + G^r h^{t-1}_j)
    h^t_j = w_c g_j + w_l h^{t-1}_{j-1} + w_r h^{t-1}_j   (arXiv:1409.1259, equations 4 to 6)

    The weights are the same everywhere, f is the rectifier, and the matrices W begin orthogonal
    with spectral radius 0.4 (section 3.2).

    Args:
        units: width of h.

    Call arguments, and what is returned, are those of a recurrent layer; it has no use for a first
    state. The output at a token is the vector of all tokens up to it.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        def weight(name, rows, columns, initializer="glorot_uniform"):
            return self.add_weight((rows, columns), initializer, name=name)

        units = self.units
        self.bottom = weight("bottom", input_shape[-1], units)
        self.left = weight("left", units, units, orthogonal(0.4))
        self.right = weight("right", units, units, orthogonal(0.4))
        self.bias = self.add_weight((units,), "zeros", name="bias")
        self.left_gate = weight("left_gate", units, 3)
        self.right_gate = weight("right_gate", units, 3)
        self.gate_bias = self.add_weight((3,), "zeros", name="gate_bias")

    def call(self, inputs, state, lengths):
        def merge(_, level):
            left = level[1]
            right = ops.concatenate([left[:, 1:], left[:, -1:]], axis=1)
            new = ops.matmul(left, self.left) + ops.matmul(right, self.right) + self.bias
            gates = ops.matmul(left, self.left_gate) + ops.matmul(right, self.right_gate)
            wc, wl, wr = ops.split(ops.softmax(gates + self.gate_bias), 3, axis=-1)
            return [left[:, 0], wc * ops.relu(new) + wl * left + wr * right]

        # At level t the first vector stands for the first t + 1 tokens, whatever follows them: all
        # rows go up to the top, and each takes its own from `firsts`, (batch, levels, units).
        level = ops.matmul(inputs, self.bottom)
        firsts, _ = recurrence(merge, [level[:, 0], level], level)
        own = ops.reshape(ops.maximum(lengths - 1, 0), (-1, 1, 1))
        return firsts, (ops.take_along_axis(firsts, own, axis=1)[:, 0],)


CONFIGURATIONS = {
    "cho_2014": {"vocabulary_size": 15_000},
    "cho_2014_rnnenc": {"vocabulary_size": 30_000, "embedding_dim": 620},
    "cho_2014_grconv": {
        "vocabulary_size": 30_000,
        "embedding_dim": 620,
        "encoder": "grconv",
        "encoder_units": 2000,
    },
}
"""The sizes of arXiv:1406.1078 (section 4.1) and of arXiv:1409.1259 (sections 3.1 and 3.2)."""
