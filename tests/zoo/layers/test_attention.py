"""Attention against its equation in float64, values and gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers.attention import attend, merge_heads, split_heads, weights

SHAPE = (2, 3, 4, 5)  # batch, heads, time, head_dim
MASK = np.array(
    [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 1]],
    ],
    bool,
)
CASES = {
    "everything": {},
    "causal": {"causal": True},
    "mask": {"mask": MASK},
    "bias": {"bias": True},
    "causal_bias": {"causal": True, "bias": True},
    "mask_bias": {"mask": MASK, "bias": True},
}


@pytest.fixture(params=CASES)
def case(request):
    generator = np.random.default_rng(0)
    query, key, value, weight = generator.normal(size=(4, *SHAPE)).astype("float32")
    arguments = dict(CASES[request.param])
    if arguments.get("bias"):
        arguments["bias"] = generator.normal(size=(1, 3, 4, 4)).astype("float32")
    return query, key, value, weight, arguments


def weights_of(query, key, mask=None, bias=0.0, causal=False):
    scores = query.astype("float64") @ key.swapaxes(2, 3) / SHAPE[-1] ** 0.5 + bias
    if causal:
        mask = np.tri(SHAPE[2], dtype=bool)[None]
    if mask is not None:
        scores = np.where(mask[:, None], scores, -np.inf)
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(-1, keepdims=True)


def attended(*arrays, **arguments):
    return ops.convert_to_numpy(attend(*tensors(arrays), **tensors(arguments)))


def tensors(arrays):
    return keras.tree.map_structure(
        lambda a: ops.convert_to_tensor(a) if isinstance(a, np.ndarray) else a, arrays
    )


def test_weights(case):
    query, key, _, _, arguments = case
    actual = weights(*tensors((query, key)), **tensors(arguments))
    np.testing.assert_allclose(
        ops.convert_to_numpy(actual), weights_of(query, key, **arguments), 1e-5, 1e-6
    )


def test_values(case):
    query, key, value, _, arguments = case
    expected = weights_of(query, key, **arguments) @ value
    # Float32 against float64, with numbers of order one.
    np.testing.assert_allclose(attended(query, key, value, **arguments), expected, 1e-5, 1e-5)


class Attention(keras.layers.Layer):
    """Attention over weights of its own, whose gradients a step of `fit` shows."""

    def __init__(self, arrays, arguments):
        super().__init__()
        self.arguments = arguments
        self.inputs = [self.add_weight(a.shape, name=n) for n, a in zip("qkv", arrays, strict=True)]
        for weight, array in zip(self.inputs, arrays, strict=True):
            weight.assign(array)

    def call(self, weight):
        inputs = [ops.convert_to_tensor(x) for x in self.inputs]
        return ops.sum(attend(*inputs, **tensors(self.arguments)) * weight, axis=(1, 2, 3))


def test_gradients(case):
    query, key, value, weight, arguments = case
    layer = Attention((query, key, value), arguments)
    model = keras.Sequential([layer])
    # The loss is the sum of `attend(...) * weight`; a step of size one takes its gradient off.
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: ops.sum(y))
    model.fit(weight, np.zeros(SHAPE[0]), batch_size=SHAPE[0], verbose=0)

    alpha = weights_of(query, key, **arguments)
    of_alpha = weight @ value.swapaxes(2, 3)
    of_scores = alpha * (of_alpha - (alpha * of_alpha).sum(-1, keepdims=True)) / SHAPE[-1] ** 0.5
    gradients = [of_scores @ key, of_scores.swapaxes(2, 3) @ query, alpha.swapaxes(2, 3) @ weight]
    for array, gradient, after in zip((query, key, value), gradients, layer.inputs, strict=True):
        moved = array - ops.convert_to_numpy(after)
        np.testing.assert_allclose(moved, gradient, 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_token_that_sees_nothing_harms_no_other(dtype):
    generator = np.random.default_rng(0)
    query, key, value = generator.normal(size=(3, 1, 1, 2, 4)).astype(dtype)
    mask = np.array([[[True, False], [False, False]]])
    seen = attended(query, key, value, mask=mask)[0, 0]
    np.testing.assert_allclose(seen[0], value[0, 0, 0], rtol=1e-6)
    assert np.isfinite(seen).all()


def test_heads_split_and_merge():
    x = np.arange(24, dtype="float32").reshape(1, 2, 12)
    heads = ops.convert_to_numpy(split_heads(x, 3))
    np.testing.assert_array_equal(heads[0, 1], [[4, 5, 6, 7], [16, 17, 18, 19]])
    np.testing.assert_array_equal(ops.convert_to_numpy(merge_heads(heads)), x)
