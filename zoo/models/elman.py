"""Simple recurrent network language model.

Tomas Mikolov, Martin Karafiat, Lukas Burget, Jan Cernocky and Sanjeev Khudanpur, "Recurrent neural
network based language model", Interspeech 2010; the network is that of Jeffrey Elman, "Finding
Structure in Time", 1990.
"""

import keras
from keras import ops

from zoo.backbone import Network, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.recurrent import SimpleRNN


@keras.saving.register_keras_serializable("zoo")
class ElmanLanguageModel(Network):
    """One recurrent layer between the last token and a softmax over the next one.

    x(t) = [w(t), s(t-1)],  s(t) = f(U x(t)),  y(t) = softmax(V s(t))   (equations 1 to 3)

    Args:
        vocabulary_size: number of token ids.
        units: width of the hidden layer s (the paper: 30 to 500).
        embedding_dim: width of a token embedding before the hidden layer; `None`: the paper's
            one-hot w(t), whose product with U is an embedding as wide as the hidden layer.
        activation: f; the paper's is "sigmoid" (equation 4).
        dropout: share of the outputs of s that are dropped, not in time.
    """

    def __init__(
        self,
        vocabulary_size,
        units=128,
        embedding_dim=None,
        activation="tanh",
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        policy = self.dtype_policy
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim or units, policy)
        self.hidden = SimpleRNN(units, activation=activation, dtype=policy, name="hidden")
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.output_dense = Dense(vocabulary_size, dtype=policy, name="logits")

    @property
    def state_spec(self):
        return StateSpec((Leaf("h", (self.units,)),))

    def call(self, token_ids, state=None, padded=True):
        length = lengths(token_ids) if state is not None and padded else None
        state = state or self.zeros(token_ids)
        x = self.token_embedding(token_ids)
        x, (h,) = self.hidden(x, (state["h"],), length)
        return ops.cast(self.output_dense(self.dropout(x)), "float32"), {"h": h}


CONFIGURATIONS = {
    "mikolov_2010_small": {"vocabulary_size": 10_000, "units": 60, "activation": "sigmoid"},
    "mikolov_2010_large": {"vocabulary_size": 10_000, "units": 250, "activation": "sigmoid"},
}
"""RNN 60 and RNN 250 of the paper's tables; it varies the vocabulary with its training data."""
