"""A state carried from batch to batch: the same numbers as the whole text at once."""

import keras
import numpy as np
import pytest
from keras import ops

from training import carried
from training.data.pipelines import Sequences, Streams, Windows
from zoo.backbone import Backbone
from zoo.models.bengio import BengioLanguageModel
from zoo.models.bigram import BigramNetwork
from zoo.models.lstm import LSTMLanguageModel
from zoo.models.transformer import TransformerLanguageModel

VOCABULARY = 11
STREAM = np.random.default_rng(0).integers(1, VOCABULARY, 50).astype("int32")


def lstm(**options):
    return LSTMLanguageModel(VOCABULARY, units=6, num_layers=2, **options)


@pytest.mark.parametrize("make", [lstm, lambda: BengioLanguageModel(VOCABULARY, context_size=4)])
def test_windows_in_turn_give_the_logits_of_the_whole_text(make):
    network = make()
    planner = Streams(
        STREAM, batch_size=2, window=7
    )  # rows of 25 tokens: the last window overhangs
    model = carried.wrap(Backbone(network), planner)
    rows = [[], []]
    for x, _, weight in carried.dataset(planner, stop=planner.steps_per_pass):
        logits = ops.convert_to_numpy(model(x))
        for row, values, real in zip(rows, logits, weight.numpy() > 0):
            row.extend(values[real])
    inputs = np.concatenate([[1], STREAM[:-1]]).reshape(2, 25).astype("int32")
    whole = ops.convert_to_numpy(network(inputs, network.zeros(inputs))[0])
    # Float32, and sums in another order where the window is shorter.
    np.testing.assert_allclose(np.array(rows), whole, atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_a_state_is_carried_at_half_precision_too(dtype):
    planner = Streams(STREAM, batch_size=2, window=7)
    states = []
    for policy in ("float32", dtype):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        try:
            model = carried.wrap(Backbone(lstm()), planner)
        finally:
            keras.config.set_dtype_policy("float32")
        for x, *_ in carried.dataset(planner, stop=2):
            model(x)
        states.append([ops.convert_to_numpy(variable) for variable in model.state.values()])
    for exact, rough in zip(*states):
        assert np.abs(exact).max() > 0.02
        np.testing.assert_allclose(rough, exact, atol=0.02)  # bfloat16 has 8 bits


def test_a_pass_begins_without_a_memory_of_the_last_one():
    planner = Streams(STREAM, batch_size=2, window=7)
    steps = planner.steps_per_pass
    model = carried.wrap(Backbone(lstm()), planner)
    logits = [ops.convert_to_numpy(model(x)) for x, *_ in carried.dataset(planner, 0, 2 * steps)]
    np.testing.assert_array_equal(logits[0], logits[steps])
    assert not np.array_equal(logits[0], logits[1])


def test_data_from_any_step_on_are_the_same_data():
    planner = Streams(STREAM, batch_size=2, window=7)
    whole = list(carried.dataset(planner, 0, 9).as_numpy_iterator())
    for (x, y, w), (a, b, c) in zip(whole[3:], carried.dataset(planner, 3, 9).as_numpy_iterator()):
        assert x.keys() == a.keys() == {"token_ids", "first"}
        for one, other in [*zip(x.values(), a.values()), (y, b), (w, c)]:
            np.testing.assert_array_equal(one, other)


def test_no_gradient_goes_back_beyond_a_window():
    """After a step of gradient descent on the second window the weights are those of a step that
    takes the state before it as a constant."""
    planner = Streams(STREAM, batch_size=2, window=7)
    network, twin = lstm(), lstm()
    backbone, other = Backbone(network), Backbone(twin)
    twin.set_weights(network.get_weights())
    model = carried.wrap(backbone, planner)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    batches = list(carried.dataset(planner, stop=2).as_numpy_iterator())
    model(batches[0][0])

    class Second(keras.Model):
        def __init__(self):
            super().__init__()
            self.network = other.network
            inputs = batches[0][0]["token_ids"]
            _, self.constants = twin(inputs, twin.zeros(inputs), padded=False)
            self.constants = {k: ops.convert_to_numpy(v) for k, v in self.constants.items()}

        def call(self, inputs):
            return self.network(inputs["token_ids"], dict(self.constants), padded=False)[0]

    x, y, weight = batches[1]
    for trained in (model, Second()):
        trained.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
        trained.train_on_batch(x, y, weight)
    for one, two in zip(network.get_weights(), twin.get_weights()):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_dropout_acts_in_training_only():
    planner = Streams(STREAM, batch_size=2, window=7)
    network = lstm(dropout=0.9)
    model = carried.wrap(Backbone(network), planner)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss)
    x, y, weight = next(carried.dataset(planner).as_numpy_iterator())
    evaluated = [model.test_on_batch(x, y, weight) for _ in range(2)]
    assert evaluated[0] == evaluated[1]
    assert model.train_on_batch(x, y, weight) != pytest.approx(evaluated[0], abs=1e-4)


def test_what_can_be_carried_says_the_state():
    assert carried.can_carry(lstm())
    assert carried.can_carry(BengioLanguageModel(VOCABULARY))
    assert not carried.can_carry(BigramNetwork(VOCABULARY))  # nothing to carry
    small = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8}
    assert not carried.can_carry(TransformerLanguageModel(VOCABULARY, **small))  # grows
    linear = {"attention": "linear", **small}
    assert not carried.can_carry(TransformerLanguageModel(VOCABULARY, **linear))  # positions end
    assert carried.can_carry(TransformerLanguageModel(VOCABULARY, positions="rotary", **linear))


def test_other_planners_are_read_as_they_are():
    backbone = Backbone(lstm())
    for planner in (Windows(STREAM, 2, 7), Sequences([STREAM[:5], STREAM[5:8]], 2)):
        model = carried.wrap(backbone, planner)
        x, _, _ = next(iter(carried.dataset(planner)))
        expected = ops.convert_to_numpy(backbone(x))
        np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), expected)
