"""GRU language model.

Junyoung Chung, Caglar Gulcehre, KyungHyun Cho and Yoshua Bengio, "Empirical Evaluation of Gated
Recurrent Neural Networks on Sequence Modeling", 2014, arXiv:1412.3555; the unit is that of Cho et
al. 2014, arXiv:1406.1078, section 2.3.
"""

import keras
from keras import ops

from zoo.backbone import Network, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.recurrent import GRU


@keras.saving.register_keras_serializable("zoo")
class GRULanguageModel(Network):
    """Stacked GRU layers between an embedding and a softmax over the vocabulary.

    h^1_t = GRU(x_t, h^1_{t-1}),  h^n_t = GRU(h^{n-1}_t, h^n_{t-1}),  y_t = W h^N_t + b

    Args:
        vocabulary_size: number of token ids.
        units: width of each hidden layer.
        num_layers: number of hidden layers.
        embedding_dim: width of the token embedding; `None`: `units`.
        reset_after: the reset gate after the recurrent product, for speed; the papers' stands
            before it.
        dropout: share of activations dropped between layers, not in time.
    """

    def __init__(
        self,
        vocabulary_size,
        units=512,
        num_layers=1,
        embedding_dim=None,
        reset_after=True,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.num_layers = num_layers
        policy = self.dtype_policy
        self.token_embedding = token_embedding(vocabulary_size, embedding_dim or units, policy)
        self.recurrent_layers = [
            GRU(units, reset_after=reset_after, dtype=policy, name=f"layer_{i}")
            for i in range(num_layers)
        ]
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.output_dense = Dense(vocabulary_size, dtype=policy, name="logits")

    @property
    def state_spec(self):
        return StateSpec(tuple(Leaf(f"layer_{i}/h", (self.units,)) for i in range(self.num_layers)))

    def call(self, token_ids, state=None, padded=True):
        length = lengths(token_ids) if state is not None and padded else None
        state = state or self.zeros(token_ids)
        x, new_state = self.dropout(self.token_embedding(token_ids)), {}
        for name, layer in zip(self.state_spec.names, self.recurrent_layers, strict=True):
            x, (new_state[name],) = layer(x, (state[name],), length)
            x = self.dropout(x)
        return ops.cast(self.output_dense(x), "float32"), new_state


CONFIGURATIONS = {
    "chung_2014_music": {"vocabulary_size": 88, "units": 46, "reset_after": False},
    "chung_2014_speech": {"vocabulary_size": 88, "units": 227, "reset_after": False},
}
"""The paper's widths (table 1); its outputs are notes and sound, not tokens."""
