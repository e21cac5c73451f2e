"""Where a token stands, told to a network that does not know by itself."""

import math

import numpy as np
from keras import ops


def sinusoids(positions, width):
    """PE(pos, 2i) = sin(pos / 10000^(2i/width)), PE(pos, 2i+1) = cos(the same).

    Vaswani et al. 2017, section 3.5, with all sines before all cosines.

    Args:
        positions: `(batch, time)` int.
        width: even.

    Returns:
        `(batch, time, width)` float32.
    """
    angles = _angles(positions, width)
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def rotate(x, positions):
    """Rotary positions: each pair of features turned by an angle that grows with the position.

    Su et al. 2021, arXiv:2104.09864, section 3.2.2; feature i is paired with i + head_dim / 2, so
    that a product of two of these depends on the difference of their positions alone.

    Args:
        x: `(batch, heads, time, head_dim)`, head_dim even.
        positions: `(batch or 1, time)`.
    """
    angles = ops.expand_dims(_angles(positions, x.shape[-1]), 1)
    sin, cos = ops.cast(ops.sin(angles), x.dtype), ops.cast(ops.cos(angles), x.dtype)
    sin, cos = ops.concatenate([-sin, sin], axis=-1), ops.concatenate([cos, cos], axis=-1)
    a, b = ops.split(x, 2, axis=-1)
    turned = ops.concatenate([b, a], axis=-1)
    return ops.multiply(x, cos) + ops.multiply(turned, sin)


def _angles(positions, width):
    rates = 10_000.0 ** (-2 * np.arange(width // 2) / width)
    return ops.multiply(
        ops.expand_dims(ops.cast(positions, "float32"), -1), rates.astype("float32")
    )


def alibi_slopes(num_heads):
    """The slope of each head, `(heads,)`: 2^(-8/n), 2^(-16/n), ... for a power of two n.

    Press et al. 2022, arXiv:2108.12409, section 3; for another number of heads, those of the next
    lower power of two and every second one of the next higher, as the authors' code has it.
    """

    def slopes(n):
        return [2 ** (-8 * (i + 1) / n) for i in range(n)]

    lower = 2 ** int(math.log2(num_heads))
    extra = slopes(2 * lower)[::2][: num_heads - lower]
    return np.array(slopes(lower) + extra, "float32")
