"""Neural probabilistic language model.

Yoshua Bengio, Rejean Ducharme, Pascal Vincent and Christian Jauvin, "A Neural Probabilistic
Language Model", Journal of Machine Learning Research 3, 2003.
"""

import keras
from keras import ops

from zoo.backbone import Network, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding

START_ID = 1  # `<eos>`, which stands before the first token of a text


@keras.saving.register_keras_serializable("zoo")
class BengioLanguageModel(Network):
    """A feedforward network over the last n-1 tokens.

    y = b + W x + U tanh(d + H x),  x = [C(w_{t-1}), ..., C(w_{t-n+1})]   (section 2, equation 1)

    Args:
        vocabulary_size: number of token ids, |V|.
        context_size: number of tokens that the next one is predicted from; the paper's n-1.
        embedding_dim: width of a token's feature vector C(w); the paper's m.
        hidden_dim: width of the tanh layer; the paper's h.
        direct_connections: the term W x, which passes the hidden layer by.
        normalization: of d + H x over its features, before tanh: `"batch"` (running statistics at
            inference), `"layer"`, `"group"` (of 8 features) or `None`, as in the paper.
        dropout: share of the hidden units that are dropped.

    Raises:
        ValueError: the normalization is none of these.
    """

    def __init__(
        self,
        vocabulary_size,
        context_size=3,
        embedding_dim=30,
        hidden_dim=100,
        direct_connections=True,
        normalization=None,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.context_size = context_size
        policy = self.dtype_policy
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim, policy)
        # With batch normalisation a bias before it would be taken off again.
        self.hidden = Dense(
            hidden_dim, use_bias=normalization != "batch", dtype=policy, name="hidden"
        )
        self.normalization = _normalization(normalization, hidden_dim, policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.output_dense = Dense(vocabulary_size, dtype=policy, name="logits")
        self.direct = None
        if direct_connections:
            self.direct = Dense(vocabulary_size, use_bias=False, dtype=policy, name="direct")

    @property
    def state_spec(self):
        return StateSpec((Leaf("context", (self.context_size,), "int32", initial=START_ID),))

    def call(self, token_ids, state=None, padded=True):
        state = state or self.zeros(token_ids)
        seen = ops.concatenate([state["context"], token_ids], axis=1)
        time = ops.shape(token_ids)[1]
        embedded = self.token_embedding(seen)  # (batch, context_size + time, embedding_dim)
        windows = [embedded[:, i + 1 : i + 1 + time] for i in range(self.context_size)]
        x = ops.concatenate(windows, axis=-1)  # the window of a token ends with that token
        hidden = self.hidden(x)
        if isinstance(self.normalization, keras.layers.BatchNormalization):
            hidden = self.normalization(hidden, mask=ops.not_equal(token_ids, 0))
        elif self.normalization:
            hidden = self.normalization(hidden)
        logits = self.output_dense(self.dropout(ops.tanh(hidden)))
        if self.direct:
            logits = logits + self.direct(x)
        return ops.cast(logits, "float32"), {"context": self._last(seen, token_ids, padded)}

    def _last(self, seen, token_ids, padded):
        if not padded:
            return seen[:, -self.context_size :]
        places = ops.expand_dims(lengths(token_ids), 1) + ops.arange(self.context_size)
        return ops.take_along_axis(seen, places, axis=1)


def _normalization(name, hidden_dim, policy):
    if name is None:
        return None
    if name == "batch":
        return keras.layers.BatchNormalization(dtype=policy, name="normalization")
    if name == "layer":
        return keras.layers.LayerNormalization(dtype=policy, name="normalization")
    if name == "group":
        return _GroupNormalization(dtype=policy, name="normalization")
    raise ValueError(f"normalization must be batch, layer, group or None, not {name!r}")


class _GroupNormalization(keras.layers.Layer):
    """Group normalisation (Wu and He 2018) of each token by itself, 8 features a group.

    Keras's own would take the mean over the tokens of a row as well.
    """

    def build(self, input_shape):
        self.gamma = self.add_weight((input_shape[-1],), "ones", name="gamma")
        self.beta = self.add_weight((input_shape[-1],), "zeros", name="beta")

    def call(self, inputs):
        batch, time, features = ops.shape(inputs)
        groups = ops.reshape(inputs, (batch, time, features // 8, 8))
        mean, variance = ops.moments(groups, axes=-1, keepdims=True)
        groups = (groups - mean) * ops.rsqrt(variance + 1e-3)
        return ops.reshape(groups, (batch, time, features)) * self.gamma + self.beta


CONFIGURATIONS = {
    "brown_mlp1": {
        "vocabulary_size": 16_383,
        "context_size": 4,
        "embedding_dim": 60,
        "hidden_dim": 50,
        "direct_connections": True,
    },
    "brown_mlp9": {
        "vocabulary_size": 16_383,
        "context_size": 4,
        "embedding_dim": 30,
        "hidden_dim": 100,
        "direct_connections": False,
    },
    "ap_news_mlp10": {
        "vocabulary_size": 17_964,
        "context_size": 5,
        "embedding_dim": 100,
        "hidden_dim": 60,
        "direct_connections": True,
    },
}
"""MLP1 and MLP9 of table 1 (Brown corpus) and MLP10 of table 2 (AP News)."""
