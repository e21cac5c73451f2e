"""Optimizers by name, with clipping, accumulation and decay as the recipe says them."""

import keras
import numpy as np
import pytest
from keras import ops

from training import optimizers
from training.recipe import Optimizer, UserError


def linear(start=((1.0, -2.0), (3.0, 4.0))) -> keras.Model:
    """y = x W + b with W given and b = 1."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, bias_initializer="ones")])
    model.layers[0].kernel.assign(np.array(start))
    return model


def moved(options: Optimizer, gradient, steps=1) -> list[np.ndarray]:
    """The weights of `linear` after steps along equal gradients."""
    model = linear()
    optimizer = optimizers.make(options, options.learning_rate, model)
    optimizer.build(model.trainable_variables)
    for _ in range(steps):
        gradients = [ops.convert_to_tensor(g) for g in gradient]
        optimizer.apply(gradients, model.trainable_variables)
    return [ops.convert_to_numpy(weight) for weight in model.trainable_variables]


GRADIENT = [np.array([[3.0, -4.0], [0.0, 0.5]], "float32"), np.array([0.0, 2.0], "float32")]
START = [np.array([[1.0, -2.0], [3.0, 4.0]]), np.ones(2)]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"clipvalue": 1.0}, [[[1, -1], [0, 0.5]], [0, 1]]),
        ({"clipnorm": 1.0}, [np.array([[3, -4], [0, 0.5]]) / 25.25**0.5, [0, 1]]),
        ({"global_clipnorm": 1.0}, [g / 29.25**0.5 for g in GRADIENT]),
        ({"momentum": 0.5}, GRADIENT),
        ({"weight_decay": 0.1}, [GRADIENT[0] + 0.1 * START[0], GRADIENT[1]]),  # not the biases
    ],
)
def test_one_step_of_descent(options, steps):
    after = moved(Optimizer(name="sgd", learning_rate=0.1, **options), GRADIENT)
    for weight, start, step in zip(after, START, steps):
        np.testing.assert_allclose(weight, start - 0.1 * np.array(step), rtol=1e-5, atol=1e-6)


def test_adagrad_with_clipping_by_value_as_in_the_reference_experiments():
    """w -= 0.01 g / sqrt(sum of g^2), each g clipped to 5: twice the same step, then 1 / sqrt 2."""
    options = Optimizer(
        name="adagrad", learning_rate=0.01, clipvalue=2.0, initial_accumulator_value=0.0
    )
    kernel, _ = moved(options, GRADIENT, steps=2)
    expected = START[0] - 0.01 * (1 + 2**-0.5) * np.sign(GRADIENT[0])
    np.testing.assert_allclose(kernel, expected, rtol=1e-4)


def test_accumulated_gradients_are_one_step_along_their_mean():
    once = moved(Optimizer(name="sgd", learning_rate=0.1), GRADIENT)
    options = Optimizer(name="sgd", learning_rate=0.1, gradient_accumulation_steps=3)
    for one, three, two in zip(once, moved(options, GRADIENT, 3), moved(options, GRADIENT, 2)):
        np.testing.assert_allclose(one, three, rtol=1e-6)
        assert not np.allclose(one, two)


@pytest.mark.parametrize("name", ["adam", "adamw", "adagrad", "sgd"])
def test_names(name):
    optimizer = optimizers.make(Optimizer(name=name), 0.5, linear())
    assert type(optimizer).__name__.lower() == name
    assert float(ops.convert_to_numpy(optimizer.learning_rate)) == 0.5


def test_an_option_that_does_not_go_with_it_is_the_users_mistake():
    with pytest.raises(UserError, match=r"optimizer adam.*momentum"):
        optimizers.make(Optimizer(momentum=0.9), 0.1, linear())
    with pytest.raises(UserError, match=r"optimizer sgd.*clip"):
        optimizers.make(Optimizer(name="sgd", clipvalue=1.0, clipnorm=1.0), 0.1, linear())


@pytest.mark.parametrize("accumulation", [None, 2])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_takes_the_steps_of_keras(name, accumulation):
    """Also where gradients are as small as epsilon, on which side of which the others differ."""
    options = {"weight_decay": 0.1} if name == "adamw" else {}
    options |= {"epsilon": 1e-3, "gradient_accumulation_steps": accumulation}
    theirs = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[name]
    generator, models = np.random.default_rng(0), [linear(), linear()]
    pair = [
        optimizers.make(Optimizer(name=name, learning_rate=0.1, **options), 0.1, models[0]),
        theirs(0.1, **options),
    ]
    if name == "adamw":
        pair[1].exclude_from_weight_decay([models[1].layers[0].bias])  # as ours does
    for model, optimizer in zip(models, pair):
        optimizer.build(model.trainable_variables)
    for _ in range(6):
        gradients = [generator.normal(0, 1e-3, g.shape).astype("float32") for g in GRADIENT]
        for model, optimizer in zip(models, pair):
            tensors = [ops.convert_to_tensor(g) for g in gradients]
            optimizer.apply(tensors, model.trainable_variables)
    for a, b in zip(models[0].weights, models[1].weights):
        np.testing.assert_allclose(ops.convert_to_numpy(a), ops.convert_to_numpy(b), rtol=1e-5)
