"""Recurrent layers with their state in the open: `(inputs, state, lengths) -> (outputs, state)`.

The cell's equations stand once, in `step`; one scan over time serves every backend.
"""

import keras
from keras import ops

from zoo.layers.scan import scan


class _Recurrent(keras.layers.Layer):
    """A scan of `step` over time.

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
            (self.units, wide), _orthogonal, name="recurrent_kernel"
        )
        self.bias = self.add_weight((wide,), self._bias_initializer, name="bias")

    _bias_initializer = "zeros"

    def step(self, projected, state):
        """One token: `(batch, gates * units)` and the state -> the next state, output first."""
        raise NotImplementedError

    def call(self, inputs, state, lengths=None):
        state = [ops.cast(x, self.compute_dtype) for x in state]
        projected = ops.matmul(inputs, self.kernel) + self.bias
        outputs, state = scan(self.step, state, projected, lengths)
        return outputs, tuple(ops.cast(x, "float32") for x in state)


class LSTM(_Recurrent):
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

    def step(self, projected, state):
        h, c = state
        i, f, g, o = ops.split(projected + ops.matmul(h, self.recurrent_kernel), 4, axis=-1)
        if self.peephole:
            i, f = i + self.peepholes[0] * c, f + self.peepholes[1] * c
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        if self.peephole:
            o = o + self.peepholes[2] * c
        return [ops.sigmoid(o) * ops.tanh(c), c]


def _orthogonal(shape, dtype=None):
    # In float32: there is no QR decomposition at half precision.
    return ops.cast(keras.initializers.Orthogonal()(shape, "float32"), dtype)


class SimpleRNN(_Recurrent):
    """The simple recurrent layer (Elman 1990): h' = f(W x + U h + b).

    Args:
        units: width of `h`.
        activation: f, by Keras's name.
    """

    def __init__(self, units, activation="tanh", **kwargs):
        super().__init__(units, **kwargs)
        self.activation = keras.activations.get(activation)

    def step(self, projected, state):
        (h,) = state
        return [self.activation(projected + ops.matmul(h, self.recurrent_kernel))]


class GRU(_Recurrent):
    """The gated recurrent unit (Cho et al. 2014, equations 5 to 8).

    z, r = sigmoid(W x + U h + b)
    g = tanh(W x + b + r * (U h + b')), or tanh(W x + b + U (r * h)) as in the paper
    h' = z * h + (1 - z) * g

    Args:
        units: width of `h`.
        reset_after: the reset gate after the product with U, which the fast kernels compute, or
            before it, as in the paper.
    """

    num_gates = 3

    def __init__(self, units, reset_after=True, **kwargs):
        super().__init__(units, **kwargs)
        self.reset_after = reset_after

    def build(self, input_shape):
        super().build(input_shape)
        if self.reset_after:
            self.recurrent_bias = self.add_weight((self.units,), "zeros", name="recurrent_bias")

    def step(self, projected, state):
        (h,) = state
        gates, x = projected[..., : 2 * self.units], projected[..., 2 * self.units :]
        recurrent_gates = self.recurrent_kernel[:, : 2 * self.units]
        recurrent = self.recurrent_kernel[:, 2 * self.units :]
        z, r = ops.split(ops.sigmoid(gates + ops.matmul(h, recurrent_gates)), 2, axis=-1)
        if self.reset_after:
            g = ops.tanh(x + r * (ops.matmul(h, recurrent) + self.recurrent_bias))
        else:
            g = ops.tanh(x + ops.matmul(r * h, recurrent))
        return [z * h + (1 - z) * g]
