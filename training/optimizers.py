"""Keras's optimizers by name."""

import dataclasses

import keras

from training import adam
from training.recipe import Optimizer, UserError

_CLASSES = {
    "adam": adam.Adam,
    "adamw": adam.AdamW,
    "adagrad": keras.optimizers.Adagrad,
    "sgd": keras.optimizers.SGD,
}


def make(options: Optimizer, learning_rate, model: keras.Model) -> keras.optimizers.Optimizer:
    """An optimizer for the weights of a model.

    Args:
        options: as in a recipe.
        learning_rate: a rate or a schedule, in place of the one in `options`.
        model: its vectors (biases, gains) are left out of weight decay.

    Raises:
        UserError: an option does not go with the optimizer, or its value is out of range.
    """
    given = {key: value for key, value in dataclasses.asdict(options).items() if value is not None}
    cls = _CLASSES[given.pop("name")]
    given |= {"learning_rate": learning_rate, "use_ema": options.ema_momentum is not None}
    try:
        optimizer = cls(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer {options.name}: {error}") from None
    if options.weight_decay:
        vectors = [weight for weight in model.trainable_variables if len(weight.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=vectors)
    return optimizer
