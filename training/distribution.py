"""One training on several devices: the rows of each batch are shared among them.

The gradient is that of the mean over all tokens of the batch, and the carried state that of all
rows, so that a run comes to the same weights on one device as on many. Only dropout differs on
TensorFlow, where each device draws the same numbers, and batch normalization, whose statistics
are those of a device's rows there.
"""

import contextlib
import os
import zlib
from typing import Any

import numpy as np

from training.environment import backend
from training.recipe import UserError


def scope(options: Any) -> contextlib.AbstractContextManager:
    """The scope in which models are built and trained.

    On jax, processes on several hosts join where Keras's own variables are set:
    `KERAS_DISTRIBUTION_JOB_ADDRESSES`, `_NUM_PROCESSES` and `_PROCESS_ID`. The first one alone
    writes, into a folder that all of them see.

    Args:
        options: the recipe; `distribution` is `"none"`, or `"data"` to share each batch among all
            devices.

    Raises:
        UserError: the backend cannot.
    """
    if options.distribution == "none":
        if _processes() > 1:
            raise UserError("KERAS_DISTRIBUTION_NUM_PROCESSES goes with --distribution data")
        return contextlib.nullcontext()
    if backend() == "torch":
        raise UserError(
            "--distribution data: Keras distributes on jax and tensorflow, not on torch; "
            "set KERAS_BACKEND, or leave it out"
        )
    if backend() == "tensorflow":
        if _processes() > 1:
            raise UserError("several processes join on jax only: unset KERAS_DISTRIBUTION_*")
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) > 1 and options.optimizer.gradient_accumulation_steps:
            raise UserError(
                "--optimizer.gradient-accumulation-steps: Keras cannot on several devices of "
                "tensorflow; set KERAS_BACKEND=jax, or leave it out"
            )
        return tf.distribute.MirroredStrategy([device.name for device in devices]).scope()
    import keras

    if _processes() > 1:
        keras.distribution.initialize()
    return keras.distribution.DataParallel(auto_shard_dataset=False).scope()


def _processes() -> int:
    return int(os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES", "1"))


def _process() -> int:
    return int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "0"))


def is_first_process() -> bool:
    """Whether this process is the one that writes files, of several on jax."""
    return _process() == 0


def devices() -> int:
    """Among how many devices a batch is shared, in the scope."""
    if backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    import keras

    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1


def check_equal(*values) -> None:
    """Raises `UserError` where the processes do not begin with equal values."""
    if _processes() == 1:
        return
    from jax.experimental import multihost_utils

    number = np.array(zlib.crc32(repr(values).encode()))
    if len(set(multihost_utils.process_allgather(number).tolist())) > 1:
        raise UserError("the processes do not see the same data and the same --runs folder")


def share(dataset):
    """Gives the batches of a planner as many rows as devices can share, and each process its own.

    The rows that are added are padding, at weight 0.
    """
    if devices() == 1:
        return dataset
    import tensorflow as tf

    def own(array):
        missing = -tf.shape(array)[0] % devices()
        array = tf.pad(array, [[0, missing], *[[0, 0]] * (len(array.shape) - 1)])
        rows = tf.shape(array)[0] // _processes()
        return array[_process() * rows :][:rows]

    return dataset.map(lambda *batch: tf.nest.map_structure(own, batch))


# === TensorFlow's replicas, each of which sees its own rows alone ===


def replicas() -> int:
    """How many there are; 1 on the other backends, where each batch is seen as a whole."""
    return devices() if backend() == "tensorflow" else 1


def all_tokens(sample_weight):
    """The sum of the weights of a batch, those of the other replicas too."""
    from keras import ops

    tokens = ops.sum(sample_weight)
    replica = _replica()
    return replica.all_reduce("sum", tokens) if replica else tokens


def over_replicas(loss):
    """The loss as a mean over all tokens of a batch, where Keras takes the mean of the replicas'
    means, of which those with more padding count for too much."""
    if replicas() == 1:
        return loss
    import keras
    from keras import ops

    class OverReplicas(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight):
            share = ops.sum(sample_weight) / all_tokens(sample_weight)
            return loss(y_true, y_pred, sample_weight) * share * replicas()

    return OverReplicas()


def own_rows(array, like):
    """Of an array of all rows, those that go with the rows in `like`."""
    if replicas() == 1:
        return array
    import tensorflow as tf

    replica = _replica()
    number = replica.replica_id_in_sync_group if replica else 0
    rows = tf.shape(like)[0]
    return array[number * rows :][:rows]


def all_rows(array):
    """The array of all rows, of which each replica has its own."""
    if replicas() == 1:
        return array
    import tensorflow as tf

    replica = _replica()
    return replica.all_gather(array, axis=0) if replica else tf.concat([array] * replicas(), axis=0)


def _replica():
    """The replica that asks, None where there is but one, and while Keras builds the model, which
    is about shapes only."""
    if replicas() == 1:
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()
