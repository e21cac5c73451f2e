"""LSTM language model.

Alex Graves, "Generating Sequences With Recurrent Neural Networks", 2013, arXiv:1308.0850, sections
2 and 3 (prediction network).
"""

import keras
from keras import ops

from zoo.backbone import Network, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.recurrent import LSTM


@keras.saving.register_keras_serializable("zoo")
class LSTMLanguageModel(Network):
    """Stacked LSTM layers between an embedding and a softmax over the vocabulary.

    h^1_t = LSTM(x_t, h^1_{t-1}),  h^n_t = LSTM([h^{n-1}_t, x_t], h^n_{t-1})
    y_t = W [h^1_t .. h^N_t] + b

    The brackets are the paper's skip connections (figure 1): from the input to every hidden layer
    and from every hidden layer to the output. Without them each layer sees only the one below.

    Args:
        vocabulary_size: number of token ids.
        units: width of each hidden layer.
        num_layers: number of hidden layers, the paper's N.
        embedding_dim: width of the token embedding; `None`: `units`. The paper feeds one-hot
            vectors.
        skip_connections: as in the paper.
        peephole: the paper's cell, whose gates see the memory cell.
        dropout: share of activations dropped between layers (Zaremba et al. 2014), not in time.
    """

    def __init__(
        self,
        vocabulary_size,
        units=512,
        num_layers=2,
        embedding_dim=None,
        skip_connections=False,
        peephole=False,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.num_layers = num_layers
        self.skip_connections = skip_connections
        policy = self.dtype_policy
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim or units, policy)
        self.recurrent_layers = [
            LSTM(units, peephole=peephole, dtype=policy, name=f"layer_{i}")
            for i in range(num_layers)
        ]
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.output_dense = Dense(vocabulary_size, dtype=policy, name="logits")

    @property
    def state_spec(self):
        return StateSpec(
            tuple(
                Leaf(f"layer_{i}/{name}", (self.units,))
                for i in range(self.num_layers)
                for name in ("h", "c")
            )
        )

    def call(self, token_ids, state=None, padded=True):
        length = lengths(token_ids) if state is not None and padded else None
        state = state or self.zeros(token_ids)
        embedded = self.dropout(self.token_embedding(token_ids))  # (batch, time, embedding_dim)
        x, hidden, new_state = embedded, [], {}
        for i, layer in enumerate(self.recurrent_layers):
            if i and self.skip_connections:
                x = ops.concatenate([x, embedded], axis=-1)
            x, (h, c) = layer(x, (state[f"layer_{i}/h"], state[f"layer_{i}/c"]), length)
            new_state |= {f"layer_{i}/h": h, f"layer_{i}/c": c}
            x = self.dropout(x)
            hidden.append(x)
        if self.skip_connections:
            x = ops.concatenate(hidden, axis=-1)
        return ops.cast(self.output_dense(x), "float32"), new_state


CONFIGURATIONS = {
    "graves_2013_penn_words": {
        "vocabulary_size": 10_000,
        "units": 1000,
        "num_layers": 1,
        "peephole": True,
    },
    "graves_2013_penn_characters": {
        "vocabulary_size": 49,
        "units": 1000,
        "num_layers": 1,
        "peephole": True,
    },
    "graves_2013_wikipedia": {
        "vocabulary_size": 205,
        "units": 700,
        "num_layers": 7,
        "skip_connections": True,
        "peephole": True,
    },
    "zaremba_2014_small": {"vocabulary_size": 10_000, "units": 200},
    "zaremba_2014_medium": {"vocabulary_size": 10_000, "units": 650, "dropout": 0.5},
    "zaremba_2014_large": {"vocabulary_size": 10_000, "units": 1500, "dropout": 0.65},
}
"""The paper's networks (sections 3.1 and 3.2), and the two-layer ones of Zaremba et al. 2014
(arXiv:1409.2329, section 4.1)."""
