"""Rows and slots of a state, worked by hand; no Keras."""

import numpy as np
import pytest

from zoo import contract
from zoo.contract import Leaf, StateSpec

SPEC = StateSpec(
    (
        Leaf("positions", (None,), "int32", "cache", initial=-1, slots="positions"),
        Leaf("cursor", (), "int32", "cursor"),
        Leaf("key", (2, None, 1), kind="cache", slots="positions"),
        Leaf("context", (2,), "int32", initial=1),
        Leaf("memory", (None, 3), kind="constant"),
    )
)
GROWING = [leaf for leaf in SPEC if leaf.name not in ("cursor", "memory")]


def state_of(positions):
    """A state with these slot positions, each key ten times its position."""
    positions = np.array(positions, "int32")
    rows = len(positions)
    return {
        "positions": positions,
        "key": np.repeat(10.0 * positions[:, None, :, None], 2, axis=1).astype("float32"),
        "context": np.arange(2 * rows, dtype="int32").reshape(rows, 2),
    }


def test_the_first_state():
    state = SPEC.initial(3)
    assert list(state) == ["positions", "key", "context"]
    assert state["positions"].shape == (3, 0)
    assert state["key"].shape == (3, 2, 0, 1)
    np.testing.assert_array_equal(state["context"], [[1, 1]] * 3)
    assert SPEC.constants == ("memory",)


def test_the_first_state_of_fixed_capacity():
    state = SPEC.initial(2, capacity=4)
    assert list(state) == ["positions", "cursor", "key", "context"]
    np.testing.assert_array_equal(state["positions"], [[-1] * 4] * 2)
    np.testing.assert_array_equal(state["cursor"], [0, 0])
    assert state["key"].shape == (2, 2, 4, 1)


def test_joining_pads_the_shorter_with_empty_slots():
    spec = StateSpec(tuple(GROWING))
    joined = contract.join(spec, [state_of([[0, 1, 2]]), state_of([[0], [5]])])
    np.testing.assert_array_equal(joined["positions"], [[0, 1, 2], [0, -1, -1], [5, -1, -1]])
    np.testing.assert_array_equal(joined["key"][:, 1, :, 0], [[0, 10, 20], [0, 0, 0], [50, 0, 0]])
    np.testing.assert_array_equal(joined["context"], [[0, 1], [0, 1], [2, 3]])
    spec.check(joined)


def test_join_then_take_gives_the_rows_back():
    spec = StateSpec(tuple(GROWING))
    states = [state_of([[0, 1, 2], [3, 4, -1]]), state_of([[0, 1, 2]])]
    joined = contract.join(spec, states)
    for state, rows in zip(states, [[0, 1], [2]], strict=True):
        for name, array in contract.take(spec, joined, rows).items():
            np.testing.assert_array_equal(array, state[name])


def test_rows_are_taken_in_order_and_again():
    taken = contract.take(StateSpec(tuple(GROWING)), state_of([[0], [5], [7]]), [2, 2, 0])
    np.testing.assert_array_equal(taken["positions"], [[7], [7], [0]])
    np.testing.assert_array_equal(taken["key"][:, 0, 0, 0], [70, 70, 0])


def test_successive_rows_of_a_source_have_its_constants_in_common():
    spec = StateSpec((Leaf("h", (1,)), Leaf("memory", (2,), kind="constant")))
    numbers = np.arange(3, dtype="float32")[:, None]
    start = {"h": numbers, "memory": numbers * [10, 100]}
    beams = contract.take(spec, start, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(beams["h"][:, 0], [0, 0, 1, 1, 2, 2])
    assert beams["memory"] is start["memory"]
    spec.check(beams | {"memory": beams["memory"].astype("float32")})
    again = contract.take(spec, beams, [1, 1, 5, 4])  # the second source is done
    np.testing.assert_array_equal(again["h"][:, 0], [0, 0, 2, 2])
    np.testing.assert_array_equal(again["memory"][:, 0], [0, 20])
    uneven = contract.take(spec, beams, [0, 1, 5])
    np.testing.assert_array_equal(uneven["memory"][:, 0], [0, 0, 20])
    joined = contract.join(spec, [again, start])
    np.testing.assert_array_equal(joined["memory"][:, 0], [0, 0, 20, 20, 0, 10, 20])
    nothing = contract.take(spec, beams, [])
    assert {len(array) for array in nothing.values()} == {0}
    with pytest.raises(ValueError, match=r"on the batch: \[6\], of sources \[4\]"):
        spec.check(beams | {"memory": np.zeros((4, 2), "float32")})


def test_trimming_drops_what_is_empty_in_every_row():
    spec = StateSpec(tuple(GROWING))
    trimmed = contract.trim(spec, state_of([[0, -1, 1, -1], [4, -1, -1, -1]]))
    np.testing.assert_array_equal(trimmed["positions"], [[0, 1], [4, -1]])
    np.testing.assert_array_equal(trimmed["key"][0, 0, :, 0], [0, 10])
    np.testing.assert_array_equal(trimmed["context"], [[0, 1], [2, 3]])


def test_widening_adds_empty_slots_and_never_takes_any():
    spec = StateSpec(tuple(GROWING))
    state = state_of([[0, 1]])
    wide = contract.widen(spec, state, 4)
    np.testing.assert_array_equal(wide["positions"], [[0, 1, -1, -1]])
    assert wide["key"].shape == (1, 2, 4, 1)
    for name, array in contract.widen(spec, wide, 3).items():
        np.testing.assert_array_equal(array, wide[name])
    for name, array in contract.trim(spec, wide).items():
        np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": None}, r"\['context'\] are missing or unknown"),
        ({"contxt": np.zeros((1, 2))}, r"\['contxt'\] are missing or unknown"),
        ({"context": np.zeros((1, 3), "int32")}, r"context: expected \(batch, \*\(2,\)\) int32"),
        ({"context": np.zeros((1, 2), "int64")}, "got .* int64"),
        ({"context": np.zeros((2, 2), "int32")}, r"disagree on the batch: \[1, 2\]"),
        ({"key": np.zeros((1, 2, 2, 1), "float32")}, r"key: expected \(batch, \*\(2, 1, 1\)\)"),
    ],
)
def test_a_wrong_state_is_named(change, message):
    state = state_of([[0]]) | change
    state = {name: array for name, array in state.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        StateSpec(tuple(GROWING)).check(state)


def test_the_best_tokens():
    # The first is padding, which is no token, whatever its logit.
    logits = np.log(np.array([[0.9, 0.1, 0.4, 0.1, 0.4], [0.9, 0.7, 0.1, 0.2, 0.0625]]))
    logits[1] += 3  # the same for all: no matter
    ids, log_probs = contract.best(logits, 3)
    np.testing.assert_array_equal(ids, [[2, 4, 1], [1, 3, 2]])
    np.testing.assert_allclose(np.exp(log_probs[0]), [0.4, 0.4, 0.1])
    np.testing.assert_allclose(np.exp(log_probs[1]), np.array([0.7, 0.2, 0.1]) / 1.0625)
