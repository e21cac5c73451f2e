"""Recurrences over time that stop each row at its own length."""

from keras import ops

from zoo.layers import gradients
from zoo.layers.scan import scan


def recurrence(step, state, inputs, lengths=None):
    """s_t = step(x_t, s_{t-1}).

    Args:
        step: `(input, state) -> state`, for one token: `(batch, features)` and a list of
            `(batch, units)`, whose first is also the output.
        state: that list before the first token.
        inputs: `(batch, time, features)`.
        lengths: `(batch,)` int32; a row's state stays as it is from its length on. `None`: the
            whole of every row counts.

    Returns:
        `(outputs, state)`: `(batch, time, units)`, and the state after each row's last token.
    """
    outputs, state = _scan(step, list(state), _by_time(inputs, lengths))
    return ops.moveaxis(outputs, 0, 1), state


def recurrence_of_product(cell, state, inputs, kernel, weights=(), lengths=None, training=False):
    """s_t = cell(x_t, h_{t-1} U, s_{t-1}), where h is the first part of the state s.

    The gradient of U is one product over all steps, after the backward scan; step by step, the
    whole of U would be read and written for the few rows of a batch. So the cell is given its
    product with U, and what it does is element by element.

    Args:
        cell: `(input, product, state, *weights) -> state`, for one token; the product is
            `(batch, features)` as the input is.
        kernel: U, `(units, features)`.
        weights: what weights the cell has besides; gradients reach no others.
        training: whether there will be a gradient.

    The other arguments, and what is returned, are those of `recurrence`.
    """

    def plain(state, inputs, kernel, weights):
        def step(x, state):
            return cell(x, ops.matmul(state[0], kernel), state, *weights)

        return _scan(step, state, inputs)

    def forward(state, inputs, kernel, weights):
        def body(state, inputs):
            product = ops.matmul(state[0], kernel)
            new = _advance(lambda x, state: cell(x, product, state, *weights), inputs, state)
            return new, [new[0], product, *state]

        like = [state[0], inputs[0][0], *state]
        last, (outputs, products, *states) = scan(body, state, inputs, like)
        return (outputs, last), (inputs, products, states, kernel, weights)

    def backward(saved, d_outputs, d_state):
        inputs, products, states, kernel, weights = saved
        size = len(states)

        def body(carry, step):
            d_output, product, *step = step
            state, (x, *alive) = step[:size], step[size:]

            def new_state(x, product, state, weights):
                return _advance(lambda x, s: cell(x, product, s, *weights), [x, *alive], state)

            d_x, d_product, d_state, d_weights = gradients.pull_back(
                new_state, (x, product, state, weights), [carry[0] + d_output, *carry[1:size]]
            )
            d_h = d_state[0] + ops.matmul(d_product, ops.transpose(kernel))
            d_weights = [sum + d_weight for sum, d_weight in zip(carry[size:], d_weights)]
            return [d_h, *d_state[1:], *d_weights], [d_x, d_product]

        carry = [*d_state, *(ops.zeros_like(weight) for weight in weights)]
        steps = [d_outputs, products, *states, *inputs]
        like = [products[0], products[0]]
        carry, (d_inputs, d_products) = scan(body, carry, steps, like, reverse=True)
        h, d_products = (ops.reshape(x, (-1, x.shape[-1])) for x in (states[0], d_products))
        d_kernel = ops.matmul(ops.transpose(h), d_products)
        return carry[:size], [d_inputs, *[None] * (len(inputs) - 1)], d_kernel, carry[size:]

    run = gradients.with_gradient(plain, forward, backward, training)
    outputs, state = run(list(state), _by_time(inputs, lengths), kernel, list(weights))
    return ops.moveaxis(outputs, 0, 1), state


def _by_time(inputs, lengths):
    """The inputs with time in front, and where rows have lengths, whether each is alive."""
    inputs = ops.moveaxis(inputs, 1, 0)
    if lengths is None:
        return [inputs]
    time = ops.expand_dims(ops.arange(ops.shape(inputs)[0], dtype=lengths.dtype), 1)
    return [inputs, ops.expand_dims(time < lengths, 2)]


def _advance(step, inputs, state):
    x, *alive = inputs
    new = step(x, state)
    return [ops.where(*alive, a, b) for a, b in zip(new, state)] if alive else new


def _scan(step, state, inputs):
    def body(state, inputs):
        state = _advance(step, inputs, state)
        return state, state[:1]

    state, (outputs,) = scan(body, state, inputs, like=state[:1])
    return outputs, state
