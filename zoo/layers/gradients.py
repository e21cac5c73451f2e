"""Functions with a gradient of their own, on every backend."""

import keras
from keras import tree


def with_gradient(plain, forward, backward, training=True):
    """A function that computes as `plain` does, and whose gradient `backward` computes.

    Args:
        plain: the function of nested lists of arrays, which gives nested lists of arrays.
        forward: the same, with what `backward` needs: `(outputs, saved)`.
        backward: `(saved, *gradients of the outputs) -> gradients of the arguments`, `None` for
            what has none; nested as they are.
        training: whether a gradient will be asked for. On TensorFlow the plain function is all
            there is where not, so that graphs are exported as they are written.
    """
    return _WITH_GRADIENT[keras.backend.backend()](plain, forward, backward, training)


def pull_back(function, arguments, gradients):
    """The gradients of a function's arguments from those of its outputs, a list."""
    return _PULL_BACK[keras.backend.backend()](function, arguments, gradients)


# === jax ===


def _jax_with_gradient(plain, forward, backward, training):
    import jax

    function = jax.custom_vjp(plain)
    function.defvjp(forward, lambda saved, gradients: backward(saved, *gradients))
    return function


def _jax_pull_back(function, arguments, gradients):
    import jax

    return jax.vjp(function, *arguments)[1](gradients)


# === TensorFlow ===


def _tensorflow_with_gradient(plain, forward, backward, training):
    import tensorflow as tf

    if not training:
        return plain

    def function(*arguments):
        structure = None

        @tf.custom_gradient
        def flat(*tensors):
            nonlocal structure
            structure, saved = forward(*tree.pack_sequence_as(arguments, tensors))

            def gradient(*gradients):
                return tree.flatten(backward(saved, *tree.pack_sequence_as(structure, gradients)))

            return tree.flatten(structure), gradient

        outputs = flat(*tree.flatten(arguments))
        return tree.pack_sequence_as(structure, outputs)

    return function


def _tensorflow_pull_back(function, arguments, gradients):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        outputs = function(*arguments)
    return tape.gradient(outputs, arguments, gradients, tf.UnconnectedGradients.ZERO)


# === torch ===


def _torch_with_gradient(plain, forward, backward, training):
    import torch

    def function(*arguments):
        if not torch.is_grad_enabled():
            return plain(*arguments)
        structures = {}

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(context, *tensors):
                outputs, saved = forward(*tree.pack_sequence_as(arguments, tensors))
                structures.update(outputs=outputs, saved=tree.map_structure(lambda _: 0, saved))
                context.save_for_backward(*tree.flatten(saved))
                return tuple(tree.flatten(outputs))

            @staticmethod
            def backward(context, *gradients):
                saved = tree.pack_sequence_as(structures["saved"], context.saved_tensors)
                gradients = tree.pack_sequence_as(structures["outputs"], gradients)
                return tuple(tree.flatten(backward(saved, *gradients)))

        outputs = Function.apply(*tree.flatten(arguments))
        return tree.pack_sequence_as(structures["outputs"], outputs)

    return function


def _torch_pull_back(function, arguments, gradients):
    import torch

    with torch.enable_grad():
        leaves = tree.map_structure(lambda x: x.detach().requires_grad_(), arguments)
        outputs = function(*leaves)
    found = torch.autograd.grad(outputs, tree.flatten(leaves), gradients, materialize_grads=True)
    return tree.pack_sequence_as(arguments, found)


_WITH_GRADIENT = {
    "jax": _jax_with_gradient,
    "tensorflow": _tensorflow_with_gradient,
    "torch": _torch_with_gradient,
}
_PULL_BACK = {
    "jax": _jax_pull_back,
    "tensorflow": _tensorflow_pull_back,
    "torch": _torch_pull_back,
}
