"""A scan over time that stops each row at its own length."""

import keras
from keras import ops


def scan(step, state, inputs, lengths=None):
    """Runs `step` over time.

    Args:
        step: `(input, state) -> state`, for one token: `(batch, features)` and a list of
            `(batch, ...)`; the first of the list is also the output.
        state: list of `(batch, ...)`, before the first token.
        inputs: `(batch, time, features)`.
        lengths: `(batch,)` int32; a row's state stays as it is from its length on. `None`: the
            whole of every row counts.

    Returns:
        `(outputs, state)`: `(batch, time, ...)`, and the state after each row's last token.
    """

    def guarded(time, x, state):
        new = step(x, state)
        if lengths is None:
            return new
        alive = time < lengths
        return [
            ops.where(ops.reshape(alive, [-1] + [1] * (len(a.shape) - 1)), a, b)
            for a, b in zip(new, state, strict=True)
        ]

    return _SCANS.get(keras.backend.backend(), _scan)(guarded, list(state), inputs)


def _scan(step, state, inputs):
    def body(carry, x):
        time, state = carry
        state = step(time, x, state)
        return (time + 1, state), state[0]

    start = (ops.zeros((), "int32"), state)
    (_, state), outputs = ops.scan(body, start, ops.moveaxis(inputs, 1, 0))
    return ops.moveaxis(outputs, 0, 1), state


def _tensorflow_scan(step, state, inputs):
    # On TensorFlow `ops.scan` stacks as many outputs as there are carries and keeps each carry in a
    # TensorArray: a plain while loop trains faster, and tf2onnx takes it.
    import tensorflow as tf

    inputs = tf.TensorArray(inputs.dtype, tf.shape(inputs)[1]).unstack(ops.moveaxis(inputs, 1, 0))
    outputs = tf.TensorArray(state[0].dtype, inputs.size(), element_shape=state[0].shape)

    def body(time, outputs, state):
        state = step(time, inputs.read(time), state)
        return time + 1, outputs.write(time, state[0]), state

    _, outputs, state = tf.while_loop(
        lambda time, *_: time < inputs.size(),
        body,
        (0, outputs, state),
        maximum_iterations=inputs.size(),  # XLA needs the bound to differentiate the loop
    )
    return ops.moveaxis(outputs.stack(), 0, 1), state


_SCANS = {"tensorflow": _tensorflow_scan}
