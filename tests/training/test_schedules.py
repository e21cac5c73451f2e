"""Learning rates against numbers worked by hand and the papers' equations."""

import keras
import numpy as np
import pytest
from keras import ops

from training import schedules
from training.recipe import Schedule


def rates(options: Schedule, learning_rate: float, steps: int) -> list[float]:
    rate = schedules.make(options, learning_rate, steps)
    return [float(ops.convert_to_numpy(rate(step))) for step in range(steps)]


def test_noam_is_the_equation_of_the_paper():
    width, warmup, steps = 512, 40, 200
    step = np.arange(1, steps + 1)
    paper = width**-0.5 * np.minimum(step**-0.5, step * warmup**-1.5)
    ours = rates(Schedule(name="inverse_sqrt", warmup_steps=40), (width * warmup) ** -0.5, steps)
    np.testing.assert_allclose(ours, paper, rtol=1e-5)


def test_cosine_grows_falls_and_stays():
    options = Schedule(name="cosine", warmup_steps=2, final_fraction=0.1)
    # Growth over 2 steps, then a quarter of a half wave a step: cos of 45, 90, 135, 180 degrees.
    half = 2**-0.5
    shares = [0.5, 1, 0.1 + 0.45 * (1 + half), 0.55, 0.1 + 0.45 * (1 - half), 0.1]
    np.testing.assert_allclose(rates(options, 4.0, 6), 4 * np.array(shares), rtol=1e-5)
    rate = schedules.make(options, 4.0, 6)
    assert float(ops.convert_to_numpy(rate(1000))) == pytest.approx(0.4)


def test_constant_with_and_without_warmup():
    assert rates(Schedule(warmup_steps=4), 1.0, 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert schedules.make(Schedule(), 0.3, 10) == 0.3
    assert schedules.make(Schedule(name="plateau"), 0.3, 10) == 0.3


def test_the_rate_falls_to_nothing_in_the_cooldown():
    options = Schedule(cooldown_steps=4)
    assert rates(options, 8.0, 6) == [8, 8, 8, 6, 4, 2]
    assert float(ops.convert_to_numpy(schedules.make(options, 8.0, 6)(6))) == 0
    # The square root falls meanwhile: 4 * sqrt(1 / s) at the steps s from 1 to 4.
    options = Schedule(name="inverse_sqrt", cooldown_steps=2)
    np.testing.assert_allclose(rates(options, 4.0, 4), [4, 8**0.5, 4 * 3**-0.5, 1], rtol=1e-6)
    options = Schedule(warmup_steps=2, cooldown_steps=2)
    assert rates(options, 1.0, 4) == [0.5, 1, 1, 0.5]


def test_an_optimizer_takes_it_step_by_step():
    weight = keras.Variable([10.0])
    optimizer = keras.optimizers.SGD(schedules.make(Schedule(warmup_steps=2), 1.0, 9))
    seen = []
    for _ in range(3):
        optimizer.apply([ops.ones((1,))], [weight])
        seen.append(float(ops.convert_to_numpy(weight)[0]))
    assert seen == [9.5, 8.5, 7.5]
