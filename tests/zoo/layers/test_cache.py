"""Slots of a cache worked by hand, in one that grows and in one of fixed capacity."""

import numpy as np
from keras import ops

from zoo.contract import StateSpec
from zoo.layers.cache import KeyValueCache, leaves

SPEC = StateSpec(leaves(num_layers=1, num_heads=1, head_dim=1))


def read(token_ids, state):
    """One call that stores each token's id as its key: the cache and its new state."""
    token_ids = ops.convert_to_tensor(token_ids, "int32")
    state = {name: ops.convert_to_tensor(array) for name, array in state.items()}
    cache = KeyValueCache(token_ids, state)
    for name in ("layer_0/key", "layer_0/value"):
        cache.append(name, ops.cast(token_ids, "float32")[:, None, :, None])
    state = {name: ops.convert_to_numpy(array) for name, array in cache.state.items()}
    SPEC.check(state)
    return cache, state


def keys(state):
    return state["layer_0/key"][:, 0, :, 0]


def test_a_growing_cache_has_an_empty_slot_for_each_padding():
    _, state = read([[7, 8, 9], [5, 0, 0]], SPEC.initial(2))
    np.testing.assert_array_equal(state["positions"], [[0, 1, 2], [0, -1, -1]])
    cache, state = read([[4], [6]], state)
    np.testing.assert_array_equal(ops.convert_to_numpy(cache.query_positions), [[3], [1]])
    np.testing.assert_array_equal(state["positions"], [[0, 1, 2, 3], [0, -1, -1, 1]])
    np.testing.assert_array_equal(keys(state), [[7, 8, 9, 4], [5, 0, 0, 6]])


def test_in_a_fixed_cache_the_slot_is_the_position():
    _, state = read([[7, 8, 9], [5, 0, 0]], SPEC.initial(2, capacity=4))
    np.testing.assert_array_equal(state["positions"], [[0, 1, 2, -1], [0, -1, -1, -1]])
    np.testing.assert_array_equal(state["cursor"], [3, 1])
    cache, state = read([[4], [6]], state)
    np.testing.assert_array_equal(ops.convert_to_numpy(cache.query_positions), [[3], [1]])
    np.testing.assert_array_equal(state["positions"], [[0, 1, 2, 3], [0, 1, -1, -1]])
    np.testing.assert_array_equal(keys(state), [[7, 8, 9, 4], [5, 6, 0, 0]])
    np.testing.assert_array_equal(state["cursor"], [4, 2])


def test_a_token_sees_itself_and_what_lies_before_it():
    _, state = read([[7, 8], [5, 0]], SPEC.initial(2))
    cache, _ = read([[4, 3], [6, 0]], state)
    # Padding stands at position 0, where it sees the first token.
    expected = [[[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 0, 1, 0], [1, 0, 0, 0]]]
    np.testing.assert_array_equal(ops.convert_to_numpy(cache.visible()), expected)
    seen = ops.convert_to_numpy(cache.visible(window=2))
    np.testing.assert_array_equal(seen[0], [[0, 1, 1, 0], [0, 0, 1, 1]])


def test_whole_sequences_leave_nothing():
    token_ids = np.array([[7, 8, 9]], "int32")
    cache = KeyValueCache(token_ids, None)
    key = np.ones((1, 1, 3, 1), "float32")
    assert cache.append("layer_0/key", key) is key
    assert cache.is_new
    assert cache.state == {}
    np.testing.assert_array_equal(ops.convert_to_numpy(cache.visible())[0], np.tri(3, dtype=bool))
