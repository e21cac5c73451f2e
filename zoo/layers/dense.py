"""Dense layers and their product, in the form in which each backend is fast."""

import keras
from keras import ops


def project(x, kernel, bias=None):
    """x W + b over the last axis: `(..., features)`, `(features, units)`, `(units,)`."""
    kernel = ops.convert_to_tensor(kernel)
    if keras.backend.backend() == "tensorflow":
        x = ops.matmul(x, kernel)
        return x if bias is None else x + bias
    # As rows: jax takes the gradient of W of a product on three axes a third slower.
    rows = ops.reshape(x, (-1, x.shape[-1]))
    if bias is None:
        rows = ops.matmul(rows, kernel)
    elif keras.backend.backend() == "torch":
        import torch

        # One pass less over the result.
        rows = torch.addmm(ops.convert_to_tensor(bias), rows, kernel)
    else:
        rows = ops.matmul(rows, kernel) + bias
    return ops.reshape(rows, (*ops.shape(x)[:-1], kernel.shape[-1]))


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` through `project`."""

    def call(self, inputs, training=None):
        x = project(inputs, self.kernel, self.bias)
        return x if self.activation is None else self.activation(x)


def tied(x, embedding):
    """The logits of an output layer whose weights are the embedding's, transposed.

    Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017, arXiv:1608.05859;
    Vaswani et al. 2017, section 3.4.
    """
    return project(x, ops.transpose(ops.cast(embedding.embeddings, x.dtype)))
