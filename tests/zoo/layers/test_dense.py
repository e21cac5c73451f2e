"""Our dense layer gives what Keras's own gives."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers.dense import Dense


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (2, 5, 4, 3)])
def test_as_in_keras(shape, use_bias, dtype):
    ours, theirs = (
        cls(6, activation="tanh", use_bias=use_bias, bias_initializer="normal", dtype=dtype)
        for cls in (Dense, keras.layers.Dense)
    )
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    theirs(x)
    ours(x)
    ours.set_weights(theirs.get_weights())
    found, expected = ours(x), theirs(x)
    assert found.dtype == expected.dtype
    # The sums are taken in another order; half precision has eight bits.
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    found, expected = (ops.convert_to_numpy(ops.cast(y, "float32")) for y in (found, expected))
    np.testing.assert_allclose(found, expected, atol=tolerance)
