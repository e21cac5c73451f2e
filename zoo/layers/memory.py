"""What a decoder remembers of a source sentence: constant leaves with one slot a source token."""

from keras import ops

from zoo.contract import PAD_ID, Leaf

POSITIONS = "memory/positions"


def leaves(shapes):
    """The leaf of slot positions, and those of these names and shapes, whose slots are `None`."""
    return (
        Leaf(POSITIONS, (None,), "int32", "constant", initial=-1, slots=POSITIONS),
        *(Leaf(name, shape, kind="constant", slots=POSITIONS) for name, shape in shapes.items()),
    )


def positions(source_ids):
    """Of each slot, `(batch, slots)` int32; -1 where padding leaves one empty."""
    time = ops.arange(ops.shape(source_ids)[1], dtype="int32")
    return ops.where(ops.not_equal(source_ids, PAD_ID), time, -1)


def by_source(x, memory):
    """The rows of one source as more tokens of one row, to look at its memory together.

    Args:
        x: `(rows, time, features)`.
        memory: a constant leaf, `(sources, ...)`.

    Returns:
        `(sources, rows / sources * time, features)`.
    """
    return ops.reshape(x, (ops.shape(memory)[0], -1, x.shape[-1]))


def by_row(x, rows):
    """A constant leaf `(sources, features)`, for each of the rows."""
    sources, features = ops.shape(x)[0], x.shape[-1]
    shape = (sources, rows // sources, features)
    return ops.reshape(ops.broadcast_to(ops.expand_dims(x, 1), shape), (-1, features))


def visible(state):
    """Which slots hold a token: `(sources, 1, slots)` bool."""
    return ops.expand_dims(state[POSITIONS] >= 0, 1)


class Source:
    """The tokens of a source, which all see each other: to a `Block` what a `KeyValueCache` is.

    Args:
        source_ids: `(batch, slots)`.
    """

    is_new = True

    def __init__(self, source_ids):
        self.query_positions = ops.expand_dims(ops.arange(ops.shape(source_ids)[1]), 0)
        self._real = ops.expand_dims(ops.not_equal(source_ids, PAD_ID), 1)

    def append(self, name, new):
        """There was nothing before."""
        return new

    def distances(self):
        """How far each token lies behind each, negative where ahead: `(1, slots, slots)`."""
        return self.query_positions[:, :, None] - self.query_positions[:, None, :]

    def visible(self, window=None):
        """Which tokens are seen, by all alike: `(batch, 1, slots)` bool."""
        return self._real
