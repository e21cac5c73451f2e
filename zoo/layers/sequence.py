"""Small operations on right-padded sequences."""

from keras import ops


def reverse(x, lengths):
    """Turns each row's real tokens round and leaves its padding at the right.

    Args:
        x: `(batch, time)`, or with an axis of features behind.
        lengths: `(batch,)`, number of real tokens.

    Returns:
        The shape of `x`.
    """
    time = ops.arange(ops.shape(x)[1])
    last = ops.expand_dims(lengths, 1) - 1
    index = ops.where(time <= last, last - time, time)
    return ops.take_along_axis(x, index if len(x.shape) == 2 else index[..., None], axis=1)


def zeros(x, units):
    """The state before the first token of each row of `x`: `(batch, units)`."""
    return ops.zeros((ops.shape(x)[0], units), x.dtype)
