"""Bigram language models: the next token from the last one alone, counted or learned.

Claude Shannon, "A Mathematical Theory of Communication", 1948, section 3 (first-order word
approximation); the network is the one that Andrej Karpathy's makemore begins with.
"""

import keras
import numpy as np
from keras import ops

from zoo.backbone import Network
from zoo.contract import StateSpec

NEVER = -1e4
"""The logit of what was never counted: finite, so that no sum with it is undefined."""


@keras.saving.register_keras_serializable("zoo")
class BigramCounts(Network):
    """p(b | a) = (count(a b) + smoothing) / (count(a) + smoothing |V|), fitted by counting.

    |V| leaves out `<pad>`, which is never a next token. The logits are log-probabilities.

    Args:
        vocabulary_size: number of token ids.
        smoothing: what is added to each count (Laplace); 0 gives what was never seen no chance.
    """

    def __init__(self, vocabulary_size, smoothing=0.0, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.smoothing = smoothing
        self.log_probabilities = self.add_weight(
            (vocabulary_size, vocabulary_size), "zeros", name="log_probabilities", trainable=False
        )

    @property
    def state_spec(self):
        return StateSpec()

    def adapt(self, data):
        """Counts the pairs of neighbours.

        Args:
            data: sequences of token ids, or arrays `(batch, time)` of them; what stands beside
                `<pad>` is no pair. Each sequence has its `<eos>` at both ends, as in training.
        """
        counts = np.zeros((self.vocabulary_size, self.vocabulary_size))
        for sequence in data:
            ids = np.atleast_2d(np.asarray(sequence))
            first, second = ids[:, :-1].ravel(), ids[:, 1:].ravel()
            real = (first != 0) & (second != 0)
            np.add.at(counts, (first[real], second[real]), 1)
        counts[1:, 1:] += self.smoothing
        totals = counts.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_probabilities = np.log(counts / totals)
        log_probabilities = np.where(counts > 0, log_probabilities, NEVER)
        self.log_probabilities.assign(log_probabilities.astype("float32"))

    def call(self, token_ids, state=None, padded=True):
        return ops.cast(ops.take(self.log_probabilities, token_ids, axis=0), "float32"), {}


@keras.saving.register_keras_serializable("zoo")
class BigramNetwork(Network):
    """One layer from the one-hot last token to the logits of the next: y = W[w_{t-1}].

    Trained without a penalty it comes to the counts; the penalty does what smoothing does.

    Args:
        vocabulary_size: number of token ids.
        penalty: of the mean of the squares of W, added to the loss; 0.01 in makemore.
    """

    def __init__(self, vocabulary_size, penalty=0.0, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        # keras.regularizers.L2 sums where this takes the mean.
        regularizer = keras.regularizers.L2(penalty / vocabulary_size**2) if penalty else None
        self.weights_by_token = self.add_weight(
            (vocabulary_size, vocabulary_size),
            keras.initializers.RandomNormal(stddev=1.0),
            regularizer=regularizer,
            name="weights_by_token",
        )

    @property
    def state_spec(self):
        return StateSpec()

    def call(self, token_ids, state=None, padded=True):
        return ops.cast(ops.take(self.weights_by_token, token_ids, axis=0), "float32"), {}
