"""Cross-entropy of the next token, and what is measured beside it, each a mean over tokens."""

import keras
from keras import ops

from training import distribution


class CrossEntropy(keras.losses.Loss):
    """Negative log-likelihood of the targets, in nats a token.

    With label smoothing the target distribution is q(k) = (1 - s) [k = y] + s / V; Szegedy et al.,
    "Rethinking the Inception Architecture for Computer Vision", 2016, section 7.

    Args:
        label_smoothing: s, from 0 to 1.

    Call arguments:
        y_true: `(batch, time)` int32.
        y_pred: logits, `(batch, time, vocabulary_size)`.
        sample_weight: `(batch, time)`, 0 where a target does not count; the loss is the weighted
            mean over all tokens of the batch.
    """

    def __init__(self, label_smoothing=0.0, name="cross_entropy"):
        super().__init__(name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        return _cross_entropies(ops.cast(y_true, "int32"), y_pred, self.label_smoothing)

    def get_config(self):
        return {"name": self.name, "label_smoothing": self.label_smoothing}


def _cross_entropies(targets, logits, label_smoothing):
    """Of each token: `(batch, time)` and `(batch, time, vocabulary_size)` -> `(batch, time)`."""
    if keras.backend.backend() == "torch":
        import torch

        # Its fused kernel.
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, -2),
            targets.flatten().long(),
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return losses.view(targets.shape)
    # Neither a one-hot target nor a log-softmax: XLA makes fewer passes over the logits of this.
    chosen = ops.take_along_axis(logits, ops.expand_dims(targets, -1), axis=-1)[..., 0]
    losses = ops.logsumexp(logits, axis=-1) - (1 - label_smoothing) * chosen
    if label_smoothing:
        losses = losses - label_smoothing * ops.mean(logits, axis=-1)
    return losses


def cross_entropy(label_smoothing: float = 0.0) -> keras.losses.Loss:
    """The loss for `compile`."""
    return CrossEntropy(label_smoothing)


class Trained(keras.Model):
    """A model that reports its loss as a mean over the tokens of all batches. Keras weighs each
    batch by its rows instead, those of padding too, so that short texts, of which more make up a
    batch, count for too much, and the loss depends on how many devices share a batch.

    Args:
        model: that is trained.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.loss_tracker = keras.metrics.Mean("loss")

    def call(self, inputs, training=None):
        return self.model(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        # Each replica's loss is its part of the mean, and of all tokens each counts as many.
        replicas = distribution.replicas()
        tokens = distribution.all_tokens(sample_weight)
        self.loss_tracker.update_state(loss * replicas, tokens / replicas)
        return loss

    @property
    def metrics(self):
        return [self.loss_tracker]


def _over_tokens(cls):
    """A metric whose mean is over tokens: Keras's own first takes the mean of each row, so that a
    token of a short row counts for more than one of a long row in another batch."""

    class OverTokens(cls):
        def update_state(self, y_true, y_pred, sample_weight=None):
            logits = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
            weight = None if sample_weight is None else ops.reshape(sample_weight, (-1,))
            return super().update_state(ops.reshape(y_true, (-1,)), logits, weight)

    return OverTokens


def metrics() -> list[keras.metrics.Metric]:
    """For `compile(weighted_metrics=...)`: `nats` a token, `top_1` and `top_5` accuracy."""
    return [
        _over_tokens(keras.metrics.SparseCategoricalCrossentropy)("nats", from_logits=True),
        _over_tokens(keras.metrics.SparseCategoricalAccuracy)("top_1"),
        _over_tokens(keras.metrics.SparseTopKCategoricalAccuracy)(5, "top_5"),
    ]
