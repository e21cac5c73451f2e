"""What stands for a layer of the zoo in a graph: ONNX's operators in their simplest form.

One for a recurrent layer takes its inputs `(batch, time, features)`, the lengths `(batch,)`, the
state, and the weights as `zoo.layers.recurrent` lays them out; it gives the outputs, 0 behind a
row's length, and the state. ONNX's operators have time before the batch, and an axis of directions.
The weights are laid out anew in the graph, when it is opened: so the file has them once, in the
form in which a product takes them as well.
"""

from onnxscript import BOOL, script
from onnxscript import opset18 as op
from onnxscript.values import Opset

DOMAIN = "zoo"
_ZOO = Opset(DOMAIN, 1)


@script(_ZOO)
def by_time(x):
    return op.Transpose(x, perm=[1, 0, 2])


@script(_ZOO)
def by_row(outputs):
    return op.Transpose(op.Squeeze(outputs, [1]), perm=[1, 0, 2])


@script(_ZOO)
def one_direction(x):
    return op.Unsqueeze(x, [0])


@script(_ZOO)
def kept(lengths, old, new):
    """The state of rows that have tokens; ONNX Runtime gives 0 for the others, not the old one."""
    has_tokens = op.Unsqueeze(op.Cast(lengths, to=BOOL.dtype), [1])
    return op.Where(has_tokens, op.Squeeze(new, [0]), old)


# === LSTM: gates i, f, g, o, in ONNX's order i, o, f, g ===


@script(_ZOO)
def lstm_weights(kernel):
    i, f, g, o = op.Split(kernel, axis=1, num_outputs=4)
    return one_direction(op.Transpose(op.Concat(i, o, f, g, axis=1), perm=[1, 0]))


@script(_ZOO)
def lstm_bias(bias):
    i, f, g, o = op.Split(bias, axis=0, num_outputs=4)
    of_product = op.Concat(i, o, f, g, axis=0)
    return one_direction(op.Concat(of_product, of_product - of_product, axis=0))


@script(_ZOO)
def LSTM(x, lengths, h, c, kernel, recurrent_kernel, bias, units: int):
    outputs, last_h, last_c = op.LSTM(
        by_time(x),
        lstm_weights(kernel),
        lstm_weights(recurrent_kernel),
        lstm_bias(bias),
        lengths,
        one_direction(h),
        one_direction(c),
        hidden_size=units,
    )
    return by_row(outputs), kept(lengths, h, last_h), kept(lengths, c, last_c)


@script(_ZOO)
def PeepholeLSTM(x, lengths, h, c, kernel, recurrent_kernel, bias, peepholes, units: int):
    i, f, o = op.Split(peepholes, axis=0, num_outputs=3)
    outputs, last_h, last_c = op.LSTM(
        by_time(x),
        lstm_weights(kernel),
        lstm_weights(recurrent_kernel),
        lstm_bias(bias),
        lengths,
        one_direction(h),
        one_direction(c),
        op.Concat(i, o, f, axis=1),
        hidden_size=units,
    )
    return by_row(outputs), kept(lengths, h, last_h), kept(lengths, c, last_c)


# === GRU: gates z, r, g in both ===


@script(_ZOO)
def weights(kernel):
    return one_direction(op.Transpose(kernel, perm=[1, 0]))


@script(_ZOO)
def GRU(x, lengths, h, kernel, recurrent_kernel, bias, recurrent_bias, units: int):
    zeros = recurrent_bias - recurrent_bias
    outputs, last = op.GRU(
        by_time(x),
        weights(kernel),
        weights(recurrent_kernel),
        one_direction(op.Concat(bias, zeros, zeros, recurrent_bias, axis=0)),
        lengths,
        one_direction(h),
        hidden_size=units,
        linear_before_reset=1,
    )
    return by_row(outputs), kept(lengths, h, last)


@script(_ZOO)
def GRUResetBefore(x, lengths, h, kernel, recurrent_kernel, bias, units: int):
    outputs, last = op.GRU(
        by_time(x),
        weights(kernel),
        weights(recurrent_kernel),
        one_direction(op.Concat(bias, bias - bias, axis=0)),
        lengths,
        one_direction(h),
        hidden_size=units,
    )
    return by_row(outputs), kept(lengths, h, last)


# === The simple recurrent layer ===


@script(_ZOO)
def SimpleRNN(x, lengths, h, kernel, recurrent_kernel, bias, units: int, activations: list[str]):
    outputs, last = op.RNN(
        by_time(x),
        weights(kernel),
        weights(recurrent_kernel),
        one_direction(op.Concat(bias, bias - bias, axis=0)),
        lengths,
        one_direction(h),
        hidden_size=units,
        activations=activations,
    )
    return by_row(outputs), kept(lengths, h, last)


# === Activations ===


@script(_ZOO)
def Gelu(x):
    """In the form that ONNX Runtime knows as one; ONNX has it from version 20 on."""
    root = op.Constant(value_float=1.4142135381698608)
    one = op.Constant(value_float=1.0)
    half = op.Constant(value_float=0.5)
    return half * (x * (op.Erf(x / root) + one))


# === What a decoder asks for besides ===


@script(_ZOO)
def candidates(logits, k):
    """The k best next tokens, padding left out: `zoo.contract.best`.

    They are among the k blocks of tokens that have the greatest of all: the search for the k
    greatest is slow, and for the greatest of a block fast.
    """
    width = op.Constant(value_ints=[64])
    size = op.Shape(logits, start=1) - 1
    missing = op.Mod(-size, width)
    nothing = op.Constant(value_float=-float("inf"))
    pads = op.Concat(op.Constant(value_ints=[0, -1, 0]), missing, axis=0)
    log_probs = op.LogSoftmax(op.Pad(logits, pads, nothing))
    blocks = op.Reshape(log_probs, op.Constant(value_ints=[0, -1, 64]))
    greatest = op.ReduceMax(blocks, [2], keepdims=0)
    count = op.Min(k, op.Shape(greatest, start=1))
    _, where = op.TopK(greatest, count)
    where, _ = op.TopK(where, count, largest=0)  # in their order, for the lower of two equal tokens
    some = op.GatherND(blocks, op.Unsqueeze(where, [2]), batch_dims=1)
    values, indices = op.TopK(op.Reshape(some, op.Constant(value_ints=[0, -1])), op.Min(k, size))
    block = op.GatherElements(where, op.Div(indices, width), axis=1)
    ids = block * width + op.Mod(indices, width) + 1
    return ids, values
