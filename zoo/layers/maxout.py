"""The deep output with maxout units that Cho et al. 2014 and Bahdanau et al. 2015 have."""

import keras
from keras import ops

from zoo.layers.dense import Dense


class MaxoutOutput(keras.layers.Layer):
    """From the hidden state s, the token y before and the context c to logits.

    t~ = U s + V y + C c + b,  t = [max(t~_1, t~_2), max(t~_3, t~_4), ..],  logits = W t + b

    Args:
        vocabulary_size: number of logits.
        units: width of t.

    Call arguments:
        hidden, token, context: s, y and c, `(batch, time or 1, features)` each.

    Returns:
        `(batch, time, vocabulary_size)` float32.
    """

    def __init__(self, vocabulary_size, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        policy = self.dtype_policy
        self.from_hidden = Dense(2 * units, dtype=policy, name="from_hidden")
        self.from_token = Dense(2 * units, use_bias=False, dtype=policy, name="from_token")
        self.from_context = Dense(2 * units, use_bias=False, dtype=policy, name="from_context")
        self.logits = Dense(vocabulary_size, dtype=policy, name="logits")

    def call(self, hidden, token, context):
        t = self.from_hidden(hidden) + self.from_token(token) + self.from_context(context)
        batch, time, _ = ops.shape(t)
        t = ops.max(ops.reshape(t, (batch, time, self.units, 2)), axis=-1)
        return ops.cast(self.logits(t), "float32")
