"""The Transformer, encoder and decoder.

Ashish Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762. Options from: Xiong et
al. 2020 (pre-norm, arXiv:2002.04745) and Shaw et al. 2018 (relative positions, arXiv:1803.02155).
"""

import keras
from keras import ops

from zoo.backbone import EncoderDecoder
from zoo.contract import StateSpec
from zoo.layers import cache, memory
from zoo.layers.block import NORMS, Block, layer_norm
from zoo.layers.dense import Dense, tied
from zoo.layers.positions import sinusoids

POSITIONS = ("sinusoidal", "relative")


@keras.saving.register_keras_serializable("zoo")
class VaswaniEncoderDecoder(EncoderDecoder):
    """Attention to the source, attention to the target so far, and no recurrence.

    z = Encoder(x_1 .. x_n),  p(y_t | y_1 .. y_{t-1}, x) = softmax(Decoder(y_1 .. y_{t-1}, z) E^T)

    A block of the encoder is self-attention and a feedforward network; one of the decoder has
    attention to z between the two (figure 1). Every call needs the keys and values of z again:
    `encode` leaves them, and not z, in the state.

    Args:
        vocabulary_size: number of target token ids.
        source_vocabulary_size: number of source token ids; `None`: one vocabulary for both.
        num_layers: blocks on each side, N.
        num_heads: attention heads, h; they share `hidden_dim` evenly.
        hidden_dim: width of the residual stream, d_model.
        intermediate_dim: width inside the feedforward network, d_ff; `None`: 4 `hidden_dim`.
        positions: "sinusoidal" (section 3.5), or "relative" in all self-attention (Shaw).
        max_distance: from which on relative positions are the same (Shaw: 16).
        norm: "pre" or "post", as in the paper.
        tie_embeddings: the output layer is the transposed embedding of the target, and so is, where
            there is one vocabulary for both, the embedding of the source (section 3.4).
        dropout: share of the embeddings and of each sublayer's output that is dropped.

    Raises:
        ValueError: an option is none of these, or the heads do not divide the width.
    """

    has_attention = True

    def __init__(
        self,
        vocabulary_size,
        source_vocabulary_size=None,
        num_layers=6,
        num_heads=8,
        hidden_dim=512,
        intermediate_dim=None,
        positions="sinusoidal",
        max_distance=16,
        norm="post",
        tie_embeddings=True,
        dropout=0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value, allowed in (("positions", positions, POSITIONS), ("norm", norm, NORMS)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if hidden_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide hidden_dim={hidden_dim}")
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.positions = positions
        policy = self.dtype_policy

        def embedding(size, name):
            # Multiplied by sqrt(d_model), its elements have variance one.
            normal = keras.initializers.RandomNormal(stddev=hidden_dim**-0.5)
            return keras.layers.Embedding(size, hidden_dim, normal, dtype=policy, name=name)

        def blocks(prefix, **options):
            return [
                Block(
                    num_heads=num_heads,
                    intermediate_dim=intermediate_dim or 4 * hidden_dim,
                    positions=positions,
                    window=max_distance + 1,
                    norm=norm,
                    activation="relu",
                    dropout=dropout,
                    dtype=policy,
                    name=f"{prefix}layer_{i}",
                    **options,
                )
                for i in range(num_layers)
            ]

        self.token_embedding = embedding(vocabulary_size, "token_embedding")
        if tie_embeddings and source_vocabulary_size is None:
            self.source_embedding = self.token_embedding
        else:
            self.source_embedding = embedding(
                source_vocabulary_size or vocabulary_size, "source_embedding"
            )
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.encoder_blocks = blocks("encoder_", bidirectional=True)
        self.decoder_blocks = blocks("", has_memory=True)
        self.encoder_norm = layer_norm(policy, "encoder_norm") if norm == "pre" else None
        self.decoder_norm = layer_norm(policy, "decoder_norm") if norm == "pre" else None
        self.output_dense = None
        if not tie_embeddings:
            self.output_dense = Dense(vocabulary_size, use_bias=False, dtype=policy, name="logits")

    @property
    def state_spec(self):
        head_dim = self.hidden_dim // self.num_heads
        remembered = {
            f"layer_{i}/memory_{name}": (self.num_heads, None, head_dim)
            for i in range(self.num_layers)
            for name in ("key", "value")
        }
        past = cache.leaves(self.num_layers, self.num_heads, head_dim)
        return StateSpec((*past, *memory.leaves(remembered)))

    def encode(self, source_ids, attention=False):
        source = memory.Source(source_ids)
        x, weights = self._embed(self.source_embedding, source_ids, source), {}
        for i, block in enumerate(self.encoder_blocks):
            x, seen = block(x, past=source, prefix="", want_weights=attention)
            weights |= {f"encoder_layer_{i}/{name}": array for name, array in seen.items()}
        if self.encoder_norm:
            x = self.encoder_norm(x)
        state = {memory.POSITIONS: memory.positions(source_ids)}
        for i, block in enumerate(self.decoder_blocks):
            key, value = block.remember(x)
            state[f"layer_{i}/memory_key"] = ops.cast(key, "float32")
            state[f"layer_{i}/memory_value"] = ops.cast(value, "float32")
        return (state, weights) if attention else state

    def call(self, token_ids, state, padded=True, attention=False):
        past = cache.KeyValueCache(token_ids, state)
        x, weights = self._embed(self.token_embedding, token_ids, past), {}
        mask = memory.visible(state)
        for i, block in enumerate(self.decoder_blocks):
            x, seen = block(
                x,
                past=past,
                prefix=f"layer_{i}",
                memory=(state[f"layer_{i}/memory_key"], state[f"layer_{i}/memory_value"], mask),
                want_weights=attention,
            )
            weights |= {f"layer_{i}/{name}": array for name, array in seen.items()}
        if self.decoder_norm:
            x = self.decoder_norm(x)
        logits = self.output_dense(x) if self.output_dense else tied(x, self.token_embedding)
        logits = ops.cast(logits, "float32")
        return (logits, past.state, weights) if attention else (logits, past.state)

    def _embed(self, embedding, ids, tokens):
        x = embedding(ids) * self.hidden_dim**0.5  # (batch, time, hidden_dim)
        if self.positions == "sinusoidal":
            x = x + ops.cast(sinusoids(tokens.query_positions, self.hidden_dim), x.dtype)
        return self.dropout(x)


CONFIGURATIONS = {
    "vaswani_2017_base": {"vocabulary_size": 37_000},
    "vaswani_2017_big": {
        "vocabulary_size": 37_000,
        "num_heads": 16,
        "hidden_dim": 1024,
        "dropout": 0.3,
    },
}
"""The paper's models for English to German (table 3 and section 5.1)."""
