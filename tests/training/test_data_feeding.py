"""Planners as `tf.data`, and what `fit` makes of them on the backend of the day."""

import keras
import numpy as np
import pytest

from training.data.pipelines import Pairs, Sequences, Streams, Windows

RNG = np.random.default_rng(0)
ROWS = [RNG.integers(3, 9, RNG.integers(1, 12)).astype("int32") for _ in range(50)]
STREAM = RNG.integers(3, 9, 200).astype("int32")
PLANNERS = {
    "sequences": (lambda: Sequences(ROWS, batch_size=8), (8, None)),
    "sequences of one length": (lambda: Sequences(ROWS, batch_size=8, buckets=1), (8, 12)),
    "sequences by tokens": (lambda: Sequences(ROWS, batch_tokens=48), (None, None)),
    "pairs": (lambda: Pairs(ROWS, ROWS[::-1], batch_size=8), (8, None)),
    "streams": (lambda: Streams(STREAM, 4, 7), (4, 7)),
    "windows": (lambda: Windows(STREAM, 4, 7), (4, 7)),
}


@pytest.mark.parametrize("name", PLANNERS)
def test_a_dataset_begins_at_any_step(name):
    make, shape = PLANNERS[name]
    plan = make()
    start = 3 * plan.steps_per_pass - 2  # over the end of a pass
    dataset = plan.dataset(start, start + 5)
    spec = dataset.element_spec
    assert all(tuple(part.shape) == shape for part in (*spec[0].values(), *spec[1:]))
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == 5
    for step, (x, y, weight) in enumerate(batches, start):
        expected = plan.batch(step)
        assert list(x) == list(expected[0])
        for found, wanted in zip((*x.values(), y, weight), (*expected[0].values(), *expected[1:])):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", PLANNERS)
def test_fit_takes_every_token_for_one(name):
    """The loss that `fit` states for weights of zero is that of a uniform guess, per token."""
    plan = PLANNERS[name][0]()
    names = list(plan.batch(0)[0])
    inputs = {key: keras.Input((None,), dtype="int32", name=key) for key in names}
    hidden = sum(keras.layers.Embedding(9, 4)(tensor) for tensor in inputs.values())
    model = keras.Model(inputs, keras.layers.Dense(9, kernel_initializer="zeros")(hidden))
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
    )
    history = model.fit(
        plan.dataset(), epochs=2, steps_per_epoch=plan.steps_per_pass, shuffle=False, verbose=0
    )
    np.testing.assert_allclose(history.history["loss"], np.log(9), rtol=1e-6)
