"""Positions worked by hand."""

import math

import numpy as np
import pytest
from keras import ops

from zoo.layers.positions import alibi_slopes, rotate, sinusoids


def test_alibi_slopes_of_eight_heads():
    # Press et al. 2022, section 3: 1/2, 1/4, ... 1/256.
    np.testing.assert_array_equal(alibi_slopes(8), [2.0**-i for i in range(1, 9)])


def test_alibi_slopes_of_heads_that_are_no_power_of_two():
    # Those of four heads, then every second one of eight.
    np.testing.assert_allclose(alibi_slopes(6), [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8])


def test_sinusoids():
    positions = ops.convert_to_numpy(sinusoids(np.array([[0, 1, 100]], "int32"), 4))[0]
    np.testing.assert_allclose(positions[0], [0, 0, 1, 1])
    expected = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    np.testing.assert_allclose(positions[1], expected, rtol=1e-6)
    expected = [math.sin(100), math.sin(1), math.cos(100), math.cos(1)]
    np.testing.assert_allclose(positions[2], expected, rtol=1e-5)  # 100 radians in float32


def test_a_quarter_turn():
    # With two features the angle is the position in radians.
    x = np.array([[[[1.0, 0.0], [1.0, 0.0]]]], "float32")
    turned = ops.convert_to_numpy(rotate(x, np.array([[0, 2]], "int32")))[0, 0]
    np.testing.assert_allclose(turned, [[1, 0], [math.cos(2), math.sin(2)]], rtol=1e-6)


@pytest.mark.parametrize("shift", [1, 50])
def test_products_of_rotated_vectors_depend_on_the_distance_alone(shift):
    query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 5, 8)).astype("float32")
    positions = np.array([[0, 1, 3, 7, 20]], "int32")

    def products(positions):
        turned = [ops.convert_to_numpy(rotate(x, positions)) for x in (query, key)]
        return turned[0][0, 0] @ turned[1][0, 0].T

    # Angles up to 70 are exact to some 1e-6, and eight products of them are added.
    np.testing.assert_allclose(products(positions + shift), products(positions), 1e-4, 1e-4)
    assert np.abs(products(positions) - query[0, 0] @ key[0, 0].T).max() > 0.1
