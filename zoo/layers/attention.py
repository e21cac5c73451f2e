"""Scaled dot-product attention, and the projections of its heads."""

import keras
from keras import ops


def attend(query, key, value, mask=None, bias=None, causal=False):
    """softmax(Q K^T / sqrt(head_dim) + bias) V   (Vaswani et al. 2017, equation 1).

    Args:
        query: `(batch, heads, time, head_dim)`.
        key, value: `(batch, heads, slots, head_dim)`.
        mask: `(batch or 1, time, slots)` bool, true where a slot is seen; `None`: all are.
        bias: added to the scores, `(batch or 1, heads or 1, time, slots)`.
        causal: a token sees the slots up to its own number; instead of a mask.

    Returns:
        `(batch, heads, time, head_dim)`.
    """
    if keras.backend.backend() == "torch":
        return _torch_attend(query, key, value, mask, bias, causal)
    return ops.matmul(weights(query, key, mask, bias, causal), value)


def weights(query, key, mask=None, bias=None, causal=False):
    """The weights in `attend`: `(batch, heads, time, slots)`, of the same arguments."""
    scores = ops.matmul(query, ops.swapaxes(key, 2, 3)) * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if causal:
        times = ops.arange(ops.shape(query)[2])
        mask = (times[:, None] >= times)[None]
    return softmax(scores, None if mask is None else ops.expand_dims(mask, 1))


def softmax(scores, mask=None):
    """Scores `(..., slots)` -> weights that sum to 1, in float32 inside.

    Args:
        mask: true where a slot is seen, in a shape that broadcasts to theirs; `None`: all are.
    """
    exact = ops.cast(scores, "float32")
    if mask is not None:
        # Finite, so that a token that sees nothing (padding) gets no NaN.
        exact = ops.where(mask, exact, -1e9)
    return ops.cast(ops.softmax(exact), scores.dtype)


def _torch_attend(query, key, value, mask, bias, causal):
    # torch's fused kernel; the rest of the arithmetic is the same.
    import torch

    unseen = torch.finfo(query.dtype).min / 2  # finite in half precision too
    if mask is not None:
        mask = torch.where(mask[:, None], 0.0, unseen).to(query.dtype)
        bias = mask if bias is None else bias + mask
    elif causal and bias is not None:
        later = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(1)
        bias, causal = bias.masked_fill(later, unseen), False
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, is_causal=causal
    )


def split_heads(x, num_heads):
    """`(batch, time, heads * head_dim)` -> `(batch, heads, time, head_dim)`."""
    batch, time, width = ops.shape(x)
    return ops.swapaxes(ops.reshape(x, (batch, time, num_heads, width // num_heads)), 1, 2)


def merge_heads(x):
    """`(batch, heads, time, head_dim)` -> `(batch, time, heads * head_dim)`."""
    x = ops.swapaxes(x, 1, 2)
    batch, time, heads, width = ops.shape(x)
    return ops.reshape(x, (batch, time, heads * width))


class AdditiveScore(keras.layers.Layer):
    """How well token i of the target fits slot j: e_ij = v^T tanh(W s_i + U h_j).

    Bahdanau et al. 2015, appendix A.1.2; U h_j, the key, is the same for all i.

    Call arguments:
        query: s, `(batch, time, features)`.
        key: U h, `(batch, slots, units)`.

    Returns:
        `(batch, time, slots)`.
    """

    def build(self, query_shape, key_shape):
        units = key_shape[-1]
        self.kernel = self.add_weight((query_shape[-1], units), "glorot_uniform", name="kernel")
        self.vector = self.add_weight((units, 1), "glorot_uniform", name="vector")

    def call(self, query, key):
        # `matmul` would be a Tensordot here, whose gradient in a scan XLA cannot compile.
        query = ops.einsum("btf,fu->btu", query, self.kernel)
        hidden = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(key, 1))
        return ops.sum(hidden * self.vector[:, 0], axis=-1)
