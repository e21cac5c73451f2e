"""Recurrent layers against NumPy in float64: values, and gradients by finite differences."""

import keras
import numpy as np
import pytest
from keras import ops

from training import environment
from zoo.layers.recurrent import GRU, LSTM, SimpleRNN

BATCH, TIME, FEATURES, UNITS = 4, 5, 3, 4
LENGTHS = np.array([5, 3, 0, 1], "int32")

LAYERS = {
    "rnn": lambda **kwargs: SimpleRNN(UNITS, **kwargs),
    "rnn_sigmoid": lambda **kwargs: SimpleRNN(UNITS, activation="sigmoid", **kwargs),
    "lstm": lambda **kwargs: LSTM(UNITS, **kwargs),
    "lstm_peephole": lambda **kwargs: LSTM(UNITS, peephole=True, **kwargs),
    "gru": lambda **kwargs: GRU(UNITS, **kwargs),
    "gru_reset_before": lambda **kwargs: GRU(UNITS, reset_after=False, **kwargs),
}


# === The same in NumPy ===


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, state, w):
    return [np.tanh(x @ w["kernel"] + state[0] @ w["recurrent_kernel"] + w["bias"])]


def rnn_sigmoid(x, state, w):
    return [sigmoid(x @ w["kernel"] + state[0] @ w["recurrent_kernel"] + w["bias"])]


def lstm(x, state, w):
    h, c = state
    p = w.get("peepholes", np.zeros((3, UNITS)))
    i, f, g, o = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=1)
    new = sigmoid(f + p[1] * c) * c + sigmoid(i + p[0] * c) * np.tanh(g)
    return [sigmoid(o + p[2] * new) * np.tanh(new), new]


def gru(x, state, w):
    (h,) = state
    (wz, wr, wg), (uz, ur, ug), (bz, br, bg) = (
        np.split(w[name], 3, axis=-1) for name in ("kernel", "recurrent_kernel", "bias")
    )
    z, r = sigmoid(x @ wz + h @ uz + bz), sigmoid(x @ wr + h @ ur + br)
    if "recurrent_bias" in w:
        g = np.tanh(x @ wg + bg + r * (h @ ug + w["recurrent_bias"]))
    else:
        g = np.tanh(x @ wg + bg + (r * h) @ ug)
    return [z * h + (1 - z) * g]


STEPS = {
    "rnn": rnn,
    "rnn_sigmoid": rnn_sigmoid,
    "lstm": lstm,
    "lstm_peephole": lstm,
    "gru": gru,
    "gru_reset_before": gru,
}


def run(name, arrays, lengths):
    """Outputs `(batch, time, units)` and the state; each row by itself, up to its length."""
    inputs, weights = arrays["inputs"], arrays
    state = [arrays[n] for n in ("h", "c") if n in arrays]
    lengths = [TIME] * BATCH if lengths is None else lengths
    outputs, last = np.zeros((BATCH, TIME, UNITS)), [part.copy() for part in state]
    for row, length in enumerate(lengths):
        own = [part[row : row + 1] for part in state]
        for time in range(TIME):
            if time < length:
                own = STEPS[name](inputs[row : row + 1, time], own, weights)
            outputs[row, time] = own[0]
        for part, new in zip(last, own, strict=True):
            part[row] = new
    return outputs, last


# === The layer, its inputs and its state as the weights of a model ===


class Probe(keras.Model):
    """Some number that depends on all outputs of a layer; its input is the lengths of the rows.

    Since all that the number depends on is a weight, one step of gradient descent at rate 1 gives
    every gradient, on every backend, compiled as in training.
    """

    def __init__(self, name, masked, dtype="float32"):
        super().__init__(dtype=dtype)
        self.layer = LAYERS[name](dtype=dtype)
        self.masked = masked
        self.values = {}
        shapes = {"inputs": (BATCH, TIME, FEATURES), "h": (BATCH, UNITS), "c": (BATCH, UNITS)}
        for leaf in list(shapes)[: 1 + self.layer.num_states]:
            self.values[leaf] = self.add_weight(shapes[leaf], "zeros", name=leaf)
        self.layer.build((BATCH, TIME, FEATURES))
        self.values |= {weight.name: weight for weight in self.layer.weights}
        generator = np.random.default_rng(len(name))
        for weight in self.values.values():
            weight.assign(generator.normal(size=weight.shape))
        self.factors = generator.normal(size=(BATCH, TIME + self.layer.num_states, UNITS)).astype(
            "float32"
        )
        self.built = True

    @property
    def arrays(self):
        return {n: ops.convert_to_numpy(w).astype("float64") for n, w in self.values.items()}

    def run_layer(self, lengths):
        state = [self.values[name] for name in ("h", "c") if name in self.values]
        inputs = ops.cast(ops.convert_to_tensor(self.values["inputs"]), self.compute_dtype)
        return self.layer(inputs, tuple(state), lengths if self.masked else None)

    def call(self, lengths):
        outputs, state = self.run_layer(lengths)
        parts = [outputs, *(ops.expand_dims(part, 1) for part in state)]
        parts = ops.concatenate([ops.cast(part, "float32") for part in parts], axis=1)
        return ops.sum(ops.multiply(parts, self.factors), axis=(1, 2))

    def expected(self, arrays):
        outputs, state = run(self.layer_name, arrays, LENGTHS if self.masked else None)
        parts = np.concatenate([outputs, *(part[:, None] for part in state)], axis=1)
        return (parts * self.factors).sum()


def probe(name, masked, **kwargs):
    model = Probe(name, masked, **kwargs)
    model.layer_name = name
    return model


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_values(name, masked):
    model = probe(name, masked)
    found, state = model.run_layer(ops.convert_to_tensor(LENGTHS))
    expected, last = run(name, model.arrays, LENGTHS if masked else None)
    # Float32 against float64, numbers of order one.
    for a, b in zip([found, *state], [expected, *last], strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(a), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_inputs_state_and_weights(name, masked, compiled):
    model = probe(name, masked)
    model.compile(
        optimizer=keras.optimizers.SGD(1.0),
        loss=lambda _, numbers: ops.sum(numbers),
        jit_compile=environment.jit_compile() if compiled else False,
    )
    before = model.arrays
    loss = model.train_on_batch(LENGTHS, LENGTHS)
    np.testing.assert_allclose(loss, model.expected(before), rtol=1e-5)
    after = model.arrays
    for leaf in before:
        gradient = numeric_gradient(model.expected, before, leaf)
        # Sums of some dozens of float32 numbers of order one.
        np.testing.assert_allclose(
            before[leaf] - after[leaf], gradient, rtol=1e-4, atol=2e-5, err_msg=leaf
        )


def numeric_gradient(function, arrays, name, step=1e-5):
    gradient = np.zeros_like(arrays[name])
    for index in np.ndindex(gradient.shape):
        values = []
        for sign in (1, -1):
            changed = arrays[name].copy()
            changed[index] += sign * step
            values.append(function(arrays | {name: changed}))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("name", LAYERS)
def test_state_behind_the_length_of_a_row_stays_to_the_last_bit(name):
    model = probe(name, masked=True)
    outputs, state = model.run_layer(ops.convert_to_tensor(LENGTHS))
    outputs = ops.convert_to_numpy(outputs)
    for leaf, new in zip(("h", "c"), state):
        empty = LENGTHS == 0
        old = ops.convert_to_numpy(model.values[leaf])
        np.testing.assert_array_equal(ops.convert_to_numpy(new)[empty], old[empty])
    for row, length in enumerate(LENGTHS):
        held = ops.convert_to_numpy(state[0])[row]
        np.testing.assert_array_equal(outputs[row, length:], np.tile(held, (TIME - length, 1)))


@pytest.mark.parametrize("name", LAYERS)
def test_one_token_at_a_time(name):
    model = probe(name, masked=False)
    outputs, last = model.run_layer(None)
    inputs = ops.convert_to_tensor(model.values["inputs"])
    state = tuple(ops.convert_to_tensor(model.values[leaf]) for leaf in ("h", "c")[: len(last)])
    for time in range(TIME):
        output, state = model.layer(inputs[:, time : time + 1], state)
        expected = ops.convert_to_numpy(outputs)[:, time : time + 1]
        np.testing.assert_allclose(ops.convert_to_numpy(output), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_half_precision_keeps_its_state_in_full(name):
    model = probe(name, masked=True, dtype="mixed_bfloat16")
    outputs, state = model.run_layer(ops.convert_to_tensor(LENGTHS))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(part.dtype) for part in state} == {"float32"}
    expected, _ = run(name, model.arrays, LENGTHS)
    # Eight bits of a number of order one, over five steps.
    found = ops.convert_to_numpy(ops.cast(outputs, "float32"))
    np.testing.assert_allclose(found, expected, atol=0.1)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=lambda _, numbers: ops.sum(numbers))
    assert np.isfinite(model.train_on_batch(LENGTHS, LENGTHS))
    assert all(np.isfinite(array).all() for array in model.arrays.values())
