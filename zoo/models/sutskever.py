"""LSTM encoder-decoder with one fixed vector between source and target.

Ilya Sutskever, Oriol Vinyals and Quoc V. Le, "Sequence to Sequence Learning with Neural Networks",
2014, arXiv:1409.3215.
"""

import keras
from keras import ops

from zoo.backbone import EncoderDecoder, lengths
from zoo.contract import Leaf, StateSpec
from zoo.layers.dense import Dense
from zoo.layers.embedding import token_embedding
from zoo.layers.recurrent import LSTM
from zoo.layers.sequence import reverse


@keras.saving.register_keras_serializable("zoo")
class SutskeverEncoderDecoder(EncoderDecoder):
    """A deep LSTM reads the source; a second one, begun in its last state, writes the target.

    p(y_1 .. y_T' | x_1 .. x_T) = prod_t p(y_t | v, y_1 .. y_{t-1})   (equation 1)

    v is the state of all layers of the encoder after the source's last token; it is all that the
    decoder is given, so it is the decoder's state and nothing else is.

    Args:
        vocabulary_size: number of target token ids.
        source_vocabulary_size: number of source token ids; `None`: one vocabulary for both.
        units: width of each hidden layer (the paper: 1000).
        num_layers: LSTM layers on each side (the paper: 4).
        embedding_dim: width of the embeddings; `None`: `units`.
        reverse_source: read the source from its last token to its first (section 3.3).
        dropout: share of activations dropped between layers, not in time.
    """

    def __init__(
        self,
        vocabulary_size,
        source_vocabulary_size=None,
        units=1000,
        num_layers=4,
        embedding_dim=None,
        reverse_source=True,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.num_layers = num_layers
        self.reverse_source = reverse_source
        policy = self.dtype_policy

        def stack(name):
            return [LSTM(units, dtype=policy, name=f"{name}_{i}") for i in range(num_layers)]

        width = embedding_dim or units
        self.source_embedding = token_embedding(
            source_vocabulary_size or vocabulary_size, width, policy, "source_embedding"
        )
        self.token_embedding = token_embedding(vocabulary_size, width, policy)
        self.encoder_layers = stack("encoder_layer")
        self.decoder_layers = stack("decoder_layer")
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

    def encode(self, source_ids):
        length = lengths(source_ids)
        if self.reverse_source:
            source_ids = reverse(source_ids, length)
        x = self.source_embedding(source_ids)
        _, state = self._run(self.encoder_layers, x, self.zeros(source_ids), length)
        return state

    def call(self, token_ids, state=None, padded=True):
        length = lengths(token_ids) if state is not None and padded else None
        state = state or self.zeros(token_ids)
        x = self.token_embedding(token_ids)
        x, state = self._run(self.decoder_layers, x, state, length)
        return ops.cast(self.output_dense(x), "float32"), state

    def _run(self, layers, x, state, length):
        new_state = {}
        x = self.dropout(x)
        for i, layer in enumerate(layers):
            x, (h, c) = layer(x, (state[f"layer_{i}/h"], state[f"layer_{i}/c"]), length)
            new_state |= {f"layer_{i}/h": h, f"layer_{i}/c": c}
            x = self.dropout(x)
        return x, new_state


CONFIGURATIONS = {
    "sutskever_2014": {
        "vocabulary_size": 80_000,
        "source_vocabulary_size": 160_000,
        "units": 1000,
        "num_layers": 4,
    },
}
"""The paper's sizes (section 3.4)."""
