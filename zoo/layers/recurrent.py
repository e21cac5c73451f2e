"""Recurrent layers with their state in the open: `(inputs, state, lengths) -> (outputs, state)`.

The equations of a cell stand once, in its layer, for every backend.
"""

import keras
from keras import ops

from zoo.layers.dense import project
from zoo.layers.recurrence import recurrence, recurrence_of_product


class Recurrent(keras.layers.Layer):
    """A cell and its weights; `cell` is one token's step.

    Args:
        units: width of the hidden state.

    Call arguments:
        inputs: `(batch, time, features)`.
        state: tuple of `(batch, units)`, as many as `num_states`.
        lengths: `(batch,)` int32; a row's state stays as it is from its length on. `None`: all of
            the row counts.

    Returns:
        `(outputs, state)`: `(batch, time, units)` and the state after each row's last token.
    """

    num_states = 1
    num_gates = 1

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        wide = self.num_gates * self.units
        self.kernel = self.add_weight((input_shape[-1], wide), "glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            (self.units, wide), orthogonal(), name="recurrent_kernel"
        )
        self.bias = self.add_weight((wide,), self._bias_initializer, name="bias")

    _bias_initializer = "zeros"

    @property
    def cell_weights(self):
        """The weights that `cell` takes."""
        return ()

    def cell(self, x, product, state, *weights):
        """W x + b and U h, `(batch, gates * units)` each, and the state -> the next state."""
        raise NotImplementedError

    def step(self, x, state):
        """One token of a loop that is not ours: W x + b and the state -> the next state."""
        product = ops.matmul(state[0], self.recurrent_kernel)
        return self.cell(x, product, state, *self.cell_weights)

    def call(self, inputs, state, lengths=None, training=False):
        state = [ops.cast(x, self.compute_dtype) for x in state]
        outputs, state = self.run(inputs, state, lengths, training)
        return outputs, tuple(ops.cast(x, "float32") for x in state)

    def run(self, inputs, state, lengths, training):
        """`call` in the precision of the layer."""
        projected = project(inputs, self.kernel, self.bias)
        kernel, *weights = map(ops.convert_to_tensor, (self.recurrent_kernel, *self.cell_weights))
        return recurrence_of_product(
            self.cell, state, projected, kernel, weights, lengths, training
        )


def orthogonal(gain=1.0):
    """Keras's initializer, in float32 whatever the weight: half precision has no QR decomposition.

    Args:
        gain: the spectral radius.
    """
    initializer = keras.initializers.Orthogonal(gain)
    return lambda shape, dtype=None: ops.cast(initializer(shape, "float32"), dtype)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Graves 2013, equations 7 to 11).

    i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b)
    c' = f * c + i * g
    h' = o * tanh(c')

    Args:
        units: width of `h` and `c`.
        peephole: i and f also see c, and o sees c', each through a diagonal matrix.
    """

    num_states = 2
    num_gates = 4

    def __init__(self, units, peephole=False, **kwargs):
        super().__init__(units, **kwargs)
        self.peephole = peephole

    def build(self, input_shape):
        super().build(input_shape)
        if self.peephole:
            self.peepholes = self.add_weight((3, self.units), "glorot_uniform", name="peepholes")

    def _bias_initializer(self, shape, dtype=None):
        # The forget gate begins open (Jozefowicz et al. 2015, section 2.2).
        zeros = ops.zeros((self.units,), dtype)
        return ops.concatenate([zeros, zeros + 1, zeros, zeros])

    @property
    def cell_weights(self):
        return (self.peepholes,) if self.peephole else ()

    def cell(self, x, product, state, peepholes=None):
        _, c = state
        i, f, g, o = ops.split(x + product, 4, axis=-1)
        if peepholes is not None:
            i, f = i + peepholes[0] * c, f + peepholes[1] * c
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        if peepholes is not None:
            o = o + peepholes[2] * c
        return [ops.sigmoid(o) * ops.tanh(c), c]

    def run(self, inputs, state, lengths, training):
        # torch's kernel lays the weights out anew at each call, too much for one token.
        if keras.backend.backend() != "torch" or self.peephole or inputs.shape[1] == 1:
            return super().run(inputs, state, lengths, training)
        from zoo.layers import torch_kernels

        weights = map(ops.convert_to_tensor, (self.kernel, self.recurrent_kernel, self.bias))
        return torch_kernels.lstm(inputs, state, *weights, lengths)


class SimpleRNN(Recurrent):
    """The simple recurrent layer (Elman 1990): h' = f(W x + U h + b).

    Args:
        units: width of `h`.
        activation: f, by Keras's name; element by element.
    """

    def __init__(self, units, activation="tanh", **kwargs):
        super().__init__(units, **kwargs)
        self.activation = keras.activations.get(activation)

    def cell(self, x, product, state):
        return [self.activation(x + product)]


class GRU(Recurrent):
    """The gated recurrent unit (Cho et al. 2014, equations 5 to 8).

    z, r = sigmoid(W x + U h + b)
    g = tanh(W x + b + r * (U h + b')), or tanh(W x + b + U (r * h)) as in the paper
    h' = z * h + (1 - z) * g

    Args:
        units: width of `h`.
        reset_after: the reset gate after the product with U, which trains faster, or before it, as
            in the paper.
    """

    num_gates = 3

    def __init__(self, units, reset_after=True, **kwargs):
        super().__init__(units, **kwargs)
        self.reset_after = reset_after

    def build(self, input_shape):
        super().build(input_shape)
        if self.reset_after:
            self.recurrent_bias = self.add_weight((self.units,), "zeros", name="recurrent_bias")

    @property
    def cell_weights(self):
        return (self.recurrent_bias,) if self.reset_after else ()

    def cell(self, x, product, state, recurrent_bias):
        (h,) = state
        z, r, g = ops.split(x, 3, axis=-1)
        uz, ur, ug = ops.split(product, 3, axis=-1)
        z, r = ops.sigmoid(z + uz), ops.sigmoid(r + ur)
        g = ops.tanh(g + r * (ug + recurrent_bias))
        return [z * h + (1 - z) * g]

    def step(self, x, state):
        if self.reset_after:
            return super().step(x, state)
        (h,) = state
        z, r, g = ops.split(x, 3, axis=-1)
        uz, ur, u = ops.split(self.recurrent_kernel, 3, axis=-1)
        z, r = ops.sigmoid(z + ops.matmul(h, uz)), ops.sigmoid(r + ops.matmul(h, ur))
        g = ops.tanh(g + ops.matmul(r * h, u))
        return [z * h + (1 - z) * g]

    def run(self, inputs, state, lengths, training):
        if self.reset_after:
            return super().run(inputs, state, lengths, training)
        return recurrence(self.step, state, project(inputs, self.kernel, self.bias), lengths)
