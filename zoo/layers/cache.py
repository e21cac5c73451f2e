"""Keys and values of the tokens before, in a state that grows or one of fixed capacity; and of a
source sentence, in a state that stays as it is."""

from keras import ops

from zoo.backbone import lengths
from zoo.contract import PAD_ID, Leaf

POSITIONS, CURSOR = "positions", "cursor"


def leaves(num_layers, num_heads, head_dim):
    """The leaves of a decoder's self-attention: slot positions, keys and values of each layer."""
    shape = (num_heads, None, head_dim)
    return (
        Leaf(POSITIONS, (None,), "int32", "cache", initial=-1, slots=POSITIONS),
        Leaf(CURSOR, (), "int32", "cursor"),
        *(
            Leaf(f"layer_{i}/{name}", shape, kind="cache", slots=POSITIONS)
            for i in range(num_layers)
            for name in ("key", "value")
        ),
    )


class KeyValueCache:
    """What one call sees and leaves of the cache: the only code that knows how it is kept.

    A growing cache gets a slot for each token of the call, at the right; padding gets an empty one.
    In a cache of fixed capacity, whose state has a cursor, a token's slot is its position.

    Args:
        token_ids: `(batch, time)` of this call.
        state: the state with the leaves above; `None`, or one without them, at the start of whole
            sequences, when the tokens of the call are all there is.

    Attributes:
        query_positions: of the tokens of this call, `(batch or 1, time)`; 0 for padding, which may
            stand where there are no positions any more.
        key_positions: of all slots, `(batch or 1, slots)`; -1 where one is empty.
        is_new: whether the tokens of the call are all there is, so that attention is causal by
            their order alone.
        state: the leaves after this call, as far as `append` has been called.
    """

    def __init__(self, token_ids, state):
        self._before = state
        time = ops.arange(ops.shape(token_ids)[1])
        self.is_new = state is None or POSITIONS not in state
        if self.is_new:
            self.query_positions = self.key_positions = ops.expand_dims(time, 0)
            self.state = {}
            return
        self._fixed = CURSOR in state
        slots = state[POSITIONS]
        # Tokens have the numbers 0, 1, ...: the next one's is how many there are.
        start = state[CURSOR] if self._fixed else ops.sum(ops.cast(slots >= 0, "int32"), axis=1)
        positions = ops.expand_dims(start, 1) + time
        written = ops.where(ops.not_equal(token_ids, PAD_ID), positions, -1)
        self.query_positions = ops.maximum(written, 0)
        if self._fixed:
            numbers = ops.arange(ops.shape(slots)[1])
            self._hits = ops.equal(numbers[:, None], written[:, None, :])  # (batch, slots, time)
            self._is_hit = ops.any(self._hits, axis=-1)
            self.key_positions = ops.where(self._is_hit, numbers, slots)
            self.state = {POSITIONS: self.key_positions, CURSOR: start + lengths(token_ids)}
        else:
            self.key_positions = ops.concatenate([slots, written], axis=1)
            self.state = {POSITIONS: self.key_positions}

    def append(self, name, new):
        """Adds keys or values `(batch, heads, time, head_dim)`; returns those of all slots."""
        if self.is_new:
            return new
        old = ops.cast(self._before[name], new.dtype)
        if self._fixed:
            moved = ops.einsum("bst,bhtd->bhsd", ops.cast(self._hits, new.dtype), new)
            new = ops.where(self._is_hit[:, None, :, None], moved, old)
        else:
            new = ops.concatenate([old, new], axis=2)
        self.state[name] = ops.cast(new, "float32")
        return new

    def distances(self):
        """How far each slot lies behind each token of the call: `(batch or 1, time, slots)`."""
        queries, keys = self.query_positions, self.key_positions
        return ops.expand_dims(queries, 2) - ops.expand_dims(keys, 1)

    def visible(self, window=None):
        """Which slots a token sees, `(batch or 1, time, slots)`: itself and those before it.

        Args:
            window: how many of them at most; `None`: all.
        """
        distances = self.distances()
        is_filled = ops.expand_dims(self.key_positions, 1) >= 0
        seen = ops.logical_and(is_filled, distances >= 0)
        return seen if window is None else ops.logical_and(seen, distances < window)
