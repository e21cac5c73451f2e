"""Kernels that torch has of its own, with weights as Keras lays them out."""

import torch

_SHUT = 1e4
"""A gate's input beyond which its sigmoid is 0 or 1 exactly, in half precision too."""


def lstm(inputs, state, kernel, recurrent_kernel, bias, lengths=None):
    """`zoo.layers.recurrent.LSTM` without peepholes, its product with the inputs included.

    torch's kernels know no lengths. So padding shuts the input gates and opens the forget gates,
    through one more column of the inputs: then the memory cell stays as it is, to the last bit, and
    the output that was the last is picked.

    Args:
        inputs: `(batch, time, features)`.
        state: h and c, `(batch, units)` each.
        kernel: `(features, 4 units)`, gates in the order i, f, g, o.
        recurrent_kernel: `(units, 4 units)`.
        bias: `(4 units,)`.
        lengths: `(batch,)`, or `None`: the whole of every row counts.

    Returns:
        `(outputs, state)`, as `zoo.layers.recurrence.recurrence` gives them.
    """
    h, c = state
    if lengths is not None:
        time, units = inputs.shape[1], h.shape[1]
        padding = torch.arange(time, device=inputs.device) >= lengths[:, None]
        inputs = torch.cat([inputs, padding[..., None].to(inputs.dtype)], dim=-1)
        shut = bias.new_tensor([-_SHUT, _SHUT, 0, 0]).repeat_interleave(units)
        kernel = torch.cat([kernel, shut[None]])
    weights = [kernel.T, recurrent_kernel.T, bias, torch.zeros_like(bias)]
    training = torch.is_grad_enabled()
    outputs, last, c = torch._VF.lstm(
        inputs, (h[None], c[None]), weights, True, 1, 0.0, training, False, True
    )
    h, c = last[0], c[0]
    if lengths is not None:
        index = (lengths.long() - 1).clamp(min=0)[:, None, None].expand(-1, 1, units)
        read = outputs.gather(1, index)[:, 0]
        h = torch.where(lengths[:, None] > 0, read, state[0])
        outputs = torch.where(padding[..., None], h[:, None], outputs)
    return outputs, [h, c]
