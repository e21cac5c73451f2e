"""LSTM encoder-decoder with global attention and input feeding.

Minh-Thang Luong, Hieu Pham and Christopher D. Manning, "Effective Approaches to Attention-based
Neural Machine Translation", 2015, arXiv:1508.04025.
"""

import keras
from keras import ops

from zoo.backbone import EncoderDecoder, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers import memory
from zoo.layers.attention import AdditiveScore, softmax
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.recurrence import recurrence
from zoo.layers.recurrent import LSTM
from zoo.layers.sequence import reverse, zeros

SCORES = ("dot", "general", "concat")


@keras.saving.register_keras_serializable("zoo")
class LuongEncoderDecoder(EncoderDecoder):
    """A stack of LSTMs on each side; the top of the decoder's looks at the top of the encoder's.

    h_t = LSTM([e(y_{t-1}); a_{t-1}], h_{t-1})   (the first layer; a is fed in, section 3.3)
    alpha_t = softmax(score(h_t, m_s)),  c_t = sum_s alpha_ts m_s   (equation 7)
    a_t = tanh(W_c [c_t; h_t]),  p(y_t) = softmax(W_s a_t)   (equations 5 and 6)

    score(h, m) = h^T m, h^T W m, or v^T tanh(W [h; m])   (equation 8: dot, general, concat)

    h is the top layer of the decoder and m that of the encoder; the decoder's layers begin in the
    states in which the encoder's end. W m does not depend on t: `encode` leaves it in the state.

    Args:
        vocabulary_size: number of target token ids.
        source_vocabulary_size: number of source token ids; `None`: as many as of the target.
        units: width of each hidden layer.
        num_layers: LSTM layers on each side.
        embedding_dim: width of the embeddings; `None`: `units`.
        score: "dot", "general" or "concat".
        input_feeding: whether a_{t-1} is part of the input.
        reverse_source: read the source from its last token to its first (section 4.1).
        dropout: share of the embeddings, of what goes from layer to layer of the encoder, and of a
            that is dropped, not in time.

    Raises:
        ValueError: there is no such score.
    """

    has_attention = True

    def __init__(
        self,
        vocabulary_size,
        source_vocabulary_size=None,
        units=1000,
        num_layers=4,
        embedding_dim=None,
        score="general",
        input_feeding=True,
        reverse_source=True,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if score not in SCORES:
            raise ValueError(f"score must be one of {', '.join(SCORES)}, not {score!r}")
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.num_layers = num_layers
        self.embedding_dim = embedding_dim or units
        self.input_feeding = input_feeding
        self.reverse_source = reverse_source
        policy = self.dtype_policy

        def embedding(size, name):
            return token_embedding(size, self.embedding_dim, policy, name)

        def stack(name):
            return [LSTM(units, dtype=policy, name=f"{name}_{i}") for i in range(num_layers)]

        self.source_embedding = embedding(
            source_vocabulary_size or vocabulary_size, "source_embedding"
        )
        self.token_embedding = embedding(vocabulary_size, "token_embedding")
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.encoder_layers, self.decoder_layers = stack("encoder_layer"), stack("decoder_layer")
        self.memory_key = None
        if score != "dot":
            self.memory_key = Dense(units, use_bias=False, dtype=policy, name="memory_key")
        self.score = AdditiveScore(dtype=policy, name="score") if score == "concat" else None
        self.attentional = Dense(units, "tanh", use_bias=False, dtype=policy, name="attentional")
        self.output_dense = Dense(vocabulary_size, dtype=policy, name="logits")

    def build(self, input_shape):
        # These are used inside a scan, where no weight can be made.
        width = self.embedding_dim + (self.units if self.input_feeding else 0)
        for layer in self.decoder_layers:
            layer.build((None, None, width))
            width = self.units
        if self.score:
            self.score.build((None, None, self.units), (None, None, self.units))
        self.attentional.build((None, None, 2 * self.units))

    @property
    def state_spec(self):
        names = [f"layer_{i}/{name}" for i in range(self.num_layers) for name in ("h", "c")]
        carried = (Leaf(name, (self.units,)) for name in ("attentional", *names))
        shapes = {"memory/value": (None, self.units)}
        if self.memory_key:
            shapes["memory/key"] = (None, self.units)
        return StateSpec((*carried, *memory.leaves(shapes)))

    def encode(self, source_ids, attention=False):
        length = lengths(source_ids)
        ids = reverse(source_ids, length) if self.reverse_source else source_ids
        x = self.source_embedding(ids)
        zero = zeros(x, self.units)
        state = {"attentional": zero, memory.POSITIONS: memory.positions(source_ids)}
        for i, layer in enumerate(self.encoder_layers):
            x, (h, c) = layer(self.dropout(x), (zero, zero), length)
            state |= {f"layer_{i}/h": h, f"layer_{i}/c": c}
        state["memory/value"] = value = reverse(x, length) if self.reverse_source else x
        if self.memory_key:
            state["memory/key"] = self.memory_key(value)
        state = {leaf.name: ops.cast(state[leaf.name], leaf.dtype) for leaf in self.state_spec}
        return (state, {}) if attention else state

    def call(self, token_ids, state, padded=True, attention=False):
        length = lengths(token_ids) if padded else None
        names = [leaf.name for leaf in self.state_spec if leaf.kind == "carried"]
        x = self.dropout(self.token_embedding(token_ids))  # (batch, time, embedding_dim)
        value = ops.cast(state["memory/value"], x.dtype)
        key = ops.cast(state["memory/key"], x.dtype) if self.memory_key else value
        mask = memory.visible(state)

        def look(h):  # (batch, time, units) -> (sources, batch / sources * time, slots)
            h = memory.by_source(h, key)
            scores = self.score(h, key) if self.score else ops.matmul(h, ops.swapaxes(key, 1, 2))
            return softmax(scores, mask)

        def step(x, hidden):
            (before, *hidden), new = hidden, []
            if self.input_feeding:
                x = ops.concatenate([x, before[:, : self.units]], axis=-1)
            for layer, h, c in zip(self.decoder_layers, hidden[::2], hidden[1::2], strict=True):
                x, c = layer.step(ops.matmul(x, layer.kernel) + layer.bias, [h, c])
                new += [x, c]
            context = ops.reshape(ops.matmul(look(x[:, None]), value), (-1, self.units))
            a = self.attentional(ops.concatenate([context, x], axis=-1))
            return [ops.concatenate([a, x], axis=-1), *new]

        # What the scan gives is [a; h] of the top layer: the logits want a, and the weights h.
        a, *hidden = (ops.cast(state[name], x.dtype) for name in names)
        first = ops.concatenate([a, hidden[-2]], axis=-1)
        outputs, (last, *hidden) = recurrence(step, [first, *hidden], x, length)
        a, h = outputs[..., : self.units], outputs[..., self.units :]
        logits = ops.cast(self.output_dense(self.dropout(a)), "float32")
        hidden = [last[:, : self.units], *hidden]
        state = {name: ops.cast(x, "float32") for name, x in zip(names, hidden, strict=True)}
        if not attention:
            return logits, state
        return logits, state, {"cross": ops.expand_dims(look(h), 1)}


CONFIGURATIONS = {
    "luong_2015": {"vocabulary_size": 50_000},
    "luong_2015_dropout": {"vocabulary_size": 50_000, "dropout": 0.2},
}
"""The paper's models (section 4.1)."""
