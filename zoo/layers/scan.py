"""A scan over time."""

import keras
from keras import ops


def scan(body, carry, inputs, like, reverse=False):
    """Runs `body` over the first axis of the inputs.

    Args:
        body: `(carry, list of inputs) -> (carry, list of outputs)`, for one step.
        carry: list of arrays, before the first step.
        inputs: list of arrays `(time, ...)`.
        like: for each output an array of the shape and dtype that it has in one step.
        reverse: from the last step to the first.

    Returns:
        `(carry, outputs)`: the carry after all steps, and `(time, ...)` of each output, in the
        order of the inputs.
    """
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_scan(body, carry, inputs, like, reverse)
    return ops.scan(body, carry, inputs, reverse=reverse)


def _tensorflow_scan(body, carry, inputs, like, reverse):
    # On TensorFlow `ops.scan` stacks as many outputs as there are carries and keeps each carry in a
    # TensorArray: a plain while loop trains faster, and tf2onnx takes it.
    import tensorflow as tf

    if inputs[0].shape[0] == 1:  # no loop in an exported graph of one token
        carry, outputs = body(carry, [tf.squeeze(x, 0) for x in inputs])
        return carry, [tf.expand_dims(x, 0) for x in outputs]
    steps = tf.shape(inputs[0])[0]
    inputs = [tf.TensorArray(x.dtype, steps).unstack(x) for x in inputs]
    outputs = [tf.TensorArray(x.dtype, steps, element_shape=x.shape) for x in like]

    def step(count, carry, outputs):
        time = steps - 1 - count if reverse else count
        carry, new = body(carry, [array.read(time) for array in inputs])
        return count + 1, carry, [array.write(time, x) for array, x in zip(outputs, new)]

    _, carry, outputs = tf.while_loop(
        lambda count, *_: count < steps,
        step,
        (0, carry, outputs),
        maximum_iterations=steps,  # XLA needs the bound to differentiate the loop
    )
    return carry, [array.stack() for array in outputs]
