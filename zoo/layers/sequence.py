"""Small operations on right-padded sequences."""

from keras import ops


def reverse(token_ids, lengths):
    """Turns each row's real tokens round and leaves its padding at the right.

    Args:
        token_ids: `(batch, time)`.
        lengths: `(batch,)`, number of real tokens.

    Returns:
        `(batch, time)`.
    """
    time = ops.arange(ops.shape(token_ids)[1])
    last = ops.expand_dims(lengths, 1) - 1
    return ops.take_along_axis(token_ids, ops.where(time <= last, last - time, time), axis=1)
