"""Truncated back-propagation through time: a state carried from batch to batch.

Tomas Mikolov et al., "Recurrent neural network based language model", 2010; Ilya Sutskever,
"Training Recurrent Neural Networks", 2013, section 2.8.6.
"""

import keras
from keras import ops

from training import distribution
from training.data.pipelines import Planner, Streams
from training.recipe import UserError


class Carried(keras.Model):
    """A network whose state after one batch is that before the next, without a gradient between.

    The network stays pure; the state lies in variables here, which are part of a checkpoint and
    not of a preset.

    Args:
        network: a `zoo.backbone.Network` whose state has a fixed size.
        batch_size: rows of every batch.

    Call arguments:
        inputs: `token_ids` `(batch, time)` int32 without padding, and `first` `(batch,)` int32,
            1 where a row is at its beginning and its state is set back to that before the first
            token.

    Returns:
        Logits `(batch, time, vocabulary_size)`.
    """

    def __init__(self, network, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.initial = network.state_spec.initial(batch_size)
        self.state = {
            name: self.add_weight(
                array.shape,
                initializer="zeros",
                dtype=array.dtype.name,
                trainable=False,
                autocast=False,  # at half precision torch would assign to a copy
                name=f"carried_{name.replace('/', '_')}",
            )
            for name, array in self.initial.items()
        }

    # `training` is named and handed on, or dropout would be left out: `fit` gives it to a call that
    # names it, and jax's makes that call without the context that layers would find it in.
    def call(self, inputs, training=None):
        state = {}
        for name, initial in self.initial.items():
            first = ops.reshape(inputs["first"] == 1, [-1] + [1] * (initial.ndim - 1))
            # A copy, since torch does not let what the graph has read be assigned to.
            before = ops.copy(distribution.own_rows(self.state[name].value, inputs["first"]))
            state[name] = ops.where(first, initial[:1], before)
        token_ids = inputs["token_ids"]
        logits, state = self.network(token_ids, state, padded=False, training=training)
        for name, variable in self.state.items():
            variable.assign(distribution.all_rows(ops.stop_gradient(state[name])))
        return logits


def can_carry(network) -> bool:
    """Whether there is a state, of a size that does not grow, and no bound on the length."""
    leaves = list(network.state_spec)
    return bool(leaves) and not network.max_length and all(x.kind == "carried" for x in leaves)


def wrap(backbone, planner: Planner) -> keras.Model:
    """The model that reads what `dataset` gives of this planner; its weights are the backbone's.

    Raises:
        UserError: the rows are longer than the network can read, or as many cannot be shared among
            the devices.
    """
    most = backbone.network.max_length
    if most and planner.longest > most:
        raise UserError(
            f"rows have up to {planner.longest} tokens and the model reads {most}: raise "
            "--model.max-sequence-length, lower --window or --max-length, or leave long texts out"
        )
    if isinstance(planner, Streams):
        if planner.batch_size % distribution.devices():
            raise UserError(
                f"{planner.batch_size} rows with a state cannot be shared among "
                f"{distribution.devices()} devices: give a --batch-size that can"
            )
        return Carried(backbone.network, planner.batch_size)
    return keras.Model(backbone.input, backbone.output)


def dataset(planner: Planner, start: int = 0, stop: int | None = None):
    """The batches from step `start` on, `first` among the inputs where the state is carried."""
    if not isinstance(planner, Streams):
        return distribution.share(planner.dataset(start, stop))
    import tensorflow as tf

    def mark(step, batch):
        x, y, weight = batch
        is_first = tf.cast(step % planner.steps_per_pass == 0, "int32")
        first = tf.fill([planner.batch_size], is_first)
        return {**x, "first": first}, y, weight

    steps = tf.data.Dataset.counter(start)
    marked = tf.data.Dataset.zip(steps, planner.dataset(start, stop)).map(mark)
    return distribution.share(marked)
