"""GRU encoder-decoder that looks back at the source for every token of the target.

Dzmitry Bahdanau, Kyunghyun Cho and Yoshua Bengio, "Neural Machine Translation by Jointly Learning
to Align and Translate", 2015, arXiv:1409.0473.
"""

import keras
from keras import ops

from zoo.backbone import EncoderDecoder, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers import memory
from zoo.layers.attention import AdditiveScore, softmax
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.maxout import MaxoutOutput
from zoo.layers.recurrence import recurrence
from zoo.layers.recurrent import GRU
from zoo.layers.sequence import reverse, zeros


@keras.saving.register_keras_serializable("zoo")
class BahdanauEncoderDecoder(EncoderDecoder):
    """Each token of the target has a context of its own, a weighted sum of annotations.

    h_j = [GRU(x_j, forward h_{j-1}); GRU(x_j, backward h_{j+1})],  s_0 = tanh(W backward h_1)
    e_ij = v^T tanh(W s_{i-1} + U h_j),  alpha_i = softmax(e_i),  c_i = sum_j alpha_ij h_j
    s_i = GRU([e(y_{i-1}), c_i], s_{i-1})   (appendix A.1.2; each gate has weights of its own)

    The output is `MaxoutOutput` of s_{i-1}, e(y_{i-1}) and c_i (A.2.2). Our gate z is the paper's
    1 - z. U h_j does not depend on i, so `encode` leaves it in the state beside h_j.

    Args:
        vocabulary_size: number of target token ids.
        source_vocabulary_size: number of source token ids; `None`: as many as of the target.
        units: width of s and of each half of h, n.
        embedding_dim: width of the embeddings e, m.
        attention_units: width inside the score, n'; `None`: `units`.
        maxout_units: width of the output's hidden layer, l.
        dropout: share of the embeddings, and of what the output is given of s, that is dropped.
    """

    has_attention = True

    def __init__(
        self,
        vocabulary_size,
        source_vocabulary_size=None,
        units=1000,
        embedding_dim=620,
        attention_units=None,
        maxout_units=500,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.embedding_dim = embedding_dim
        self.attention_units = attention_units or units
        policy = self.dtype_policy

        def gru(name):
            return GRU(units, reset_after=False, dtype=policy, name=name)

        self.source_embedding = token_embedding(
            source_vocabulary_size or vocabulary_size, embedding_dim, policy, "source_embedding"
        )
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim, policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.encoder_forward, self.encoder_backward = gru("forward"), gru("backward")
        self.first_state = Dense(units, "tanh", dtype=policy, name="first_state")
        self.memory_key = Dense(
            self.attention_units, use_bias=False, dtype=policy, name="memory_key"
        )
        self.score = AdditiveScore(dtype=policy, name="score")
        self.decoder = gru("decoder")
        self.output_layer = MaxoutOutput(vocabulary_size, maxout_units, dtype=policy, name="output")

    def build(self, input_shape):
        # Both are used inside a scan, where no weight can be made.
        self.score.build((None, None, self.units), (None, None, self.attention_units))
        self.decoder.build((None, None, self.embedding_dim + 2 * self.units))

    @property
    def state_spec(self):
        shapes = {
            "memory/annotations": (None, 2 * self.units),
            "memory/key": (None, self.attention_units),
        }
        return StateSpec((Leaf("h", (self.units,)), *memory.leaves(shapes)))

    def encode(self, source_ids, attention=False):
        length = lengths(source_ids)
        x = self.dropout(self.source_embedding(source_ids))
        zero = (zeros(x, self.units),)
        forward, _ = self.encoder_forward(x, zero, length)
        backward, (last,) = self.encoder_backward(reverse(x, length), zero, length)
        annotations = ops.concatenate([forward, reverse(backward, length)], axis=-1)
        state = {
            "h": ops.cast(self.first_state(last), "float32"),
            memory.POSITIONS: memory.positions(source_ids),
            "memory/annotations": ops.cast(annotations, "float32"),
            "memory/key": ops.cast(self.memory_key(annotations), "float32"),
        }
        return (state, {}) if attention else state

    def call(self, token_ids, state, padded=True, attention=False):
        length = lengths(token_ids) if padded else None
        token = self.dropout(self.token_embedding(token_ids))  # (batch, time, embedding_dim)
        h, annotations, key = (
            ops.cast(state[name], token.dtype) for name in ("h", "memory/annotations", "memory/key")
        )
        mask = memory.visible(state)

        def look(s):  # (batch, time, units) -> (sources, batch / sources * time, slots)
            return softmax(self.score(memory.by_source(s, key), key), mask)

        from_token = self.decoder.kernel[: self.embedding_dim]
        from_context = self.decoder.kernel[self.embedding_dim :]

        def step(x, hidden):
            _, s = hidden
            context = ops.reshape(ops.matmul(look(s[:, None]), annotations), (-1, 2 * self.units))
            (new,) = self.decoder.step(x + ops.matmul(context, from_context), [s])
            return [ops.concatenate([s, context], axis=-1), new]

        no_context = ops.zeros_like(h)
        first = [ops.concatenate([h, no_context, no_context], axis=-1), h]
        seen, (_, h) = recurrence(
            step, first, ops.matmul(token, from_token) + self.decoder.bias, length
        )
        s, context = seen[..., : self.units], seen[..., self.units :]
        logits = self.output_layer(self.dropout(s), token, context)
        state = {"h": ops.cast(h, "float32")}
        if not attention:
            return logits, state
        return logits, state, {"cross": ops.expand_dims(look(s), 1)}


CONFIGURATIONS = {
    "bahdanau_2015": {"vocabulary_size": 30_000},
}
"""The paper's RNNsearch (appendices A.2.3 and B)."""
