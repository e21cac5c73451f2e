"""The embedding of tokens that a recurrent or feedforward network reads."""

import keras


def token_embedding(vocabulary_size, width, dtype, name="token_embedding"):
    """An embedding whose vectors begin with elements of standard normal distribution.

    Keras's default, uniform up to 0.05, leaves the tanh and the gates behind it linear for
    thousands of steps: with it an Elman network on names ended at 2.18 nats in place of 1.98.

    Args:
        vocabulary_size: number of token ids.
        width: of a token's vector.
        dtype: policy of the layer.
        name: of the layer.
    """
    normal = keras.initializers.RandomNormal(stddev=1.0)
    return keras.layers.Embedding(vocabulary_size, width, normal, dtype=dtype, name=name)
