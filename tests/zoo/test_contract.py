"""The identities of the contract, for every network of the zoo and each of its options.

Two ways to the same numbers sum in another order: they agree to `TOLERANCE`, some hundred roundings
of a float32 about one, the size of the logits here.
"""

import functools
import runpy
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from zoo import contract

_table = runpy.run_path(str(Path(__file__).parents[1] / "small_networks.py"))

TOLERANCE = 1e-5
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5], [9, 7, 9, 3, 2]], "int32")
SOURCES = np.array([[3, 8, 4, 1], [5, 1, 0, 0], [7, 2, 1, 0]], "int32")
ROWS, TIME = TOKENS.shape


class Call(keras.Model):
    """A network as `predict_on_batch` takes it."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        # Compiling pays on jax alone, where each call of a scan is compiled anyhow. The tests keep
        # to few shapes, which is what their time goes into.
        self.compile(run_eagerly=keras.backend.backend() != "jax")

    def call(self, inputs):
        return self.network(**inputs)


class Model:
    """A small network called with NumPy arrays, and what several tests ask of it."""

    def __init__(self, name):
        self.backbone = _table["backbone"](name)
        self.network = self.backbone.network
        self.spec = self.network.state_spec
        self._call = Call(self.network)
        self.sources = {"encoder_token_ids": SOURCES} if hasattr(self.network, "encode") else {}

    def __call__(self, token_ids, state):
        """Reads tokens: logits, and the state as the next call takes it."""
        logits, new = self._call.predict_on_batch({"token_ids": token_ids, "state": state})
        new |= {name: state[name] for name in self.spec.constants}
        self.spec.check(new)
        assert set(new) == set(state)
        return logits, new

    def start(self, capacity=None):
        """The state of all rows before the first token."""
        state = self.spec.initial(ROWS, capacity)
        if self.sources:
            encoded = self.network.encode(SOURCES)
            state |= {name: ops.convert_to_numpy(array) for name, array in encoded.items()}
        self.spec.check(state)
        return state

    def whole(self, token_ids, **more):
        """The logits of whole sequences, as in training."""
        inputs = {"token_ids": token_ids} | self.sources | more
        return ops.convert_to_numpy(self.backbone(inputs))

    @functools.cached_property
    def logits(self):
        """Of all tokens, read at once."""
        return self.whole(TOKENS)

    @functools.cached_property
    def steps(self):
        """Logits of each token read by itself, and the states before the first and after each."""
        logits, states = [], [self.start()]
        for t in range(TIME):
            read, state = self(TOKENS[:, t : t + 1], states[-1])
            logits.append(read)
            states.append(state)
        return np.concatenate(logits, axis=1), states


@functools.cache
def model_named(name):
    return Model(name)


@pytest.fixture(params=_table["SMALL"])
def model(request):
    return model_named(request.param)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, TOLERANCE, TOLERANCE)


def assert_row(spec, state, row, expected, expected_row):
    """Checks that a row is in the same state, whatever empty slots there are in each cache."""
    actual = contract.trim(spec, contract.take(spec, state, [row]))
    expected = contract.trim(spec, contract.take(spec, expected, [expected_row]))
    for leaf in spec:
        if leaf.kind != "cursor":  # only where the capacity is fixed
            assert_close(actual[leaf.name], expected[leaf.name])


def assert_state(spec, state, expected):
    for row in range(ROWS):
        assert_row(spec, state, row, expected, row)


def test_one_token_at_a_time_is_the_whole_sequence_at_once(model):
    logits, states = model.steps
    assert_close(logits, model.logits)
    logits, state = model(TOKENS, model.start())
    assert_close(logits, model.logits)
    assert_state(model.spec, state, states[TIME])


def test_a_fixed_capacity_changes_nothing(model):
    first, state = model(TOKENS[:, :4], model.start(capacity=TIME))
    assert_state(model.spec, state, model.steps[1][4])
    last, state = model(TOKENS[:, 4:], state)
    assert_close(np.concatenate([first, last], axis=1), model.logits)
    assert_state(model.spec, state, model.steps[1][TIME])
    for leaf in model.spec:
        if leaf.kind == "cursor":
            np.testing.assert_array_equal(state[leaf.name], TIME)


@pytest.mark.parametrize("capacity", [None, TIME])
def test_padding_does_not_advance_a_row(model, capacity):
    _, state = model(TOKENS[:, :1], model.start(capacity))
    lengths = [4, 2, 0]  # the third row is padding only
    padded = np.where(np.arange(4) < np.reshape(lengths, (ROWS, 1)), TOKENS[:, 1:], 0)
    logits, state = model(padded, state)
    for row, length in enumerate(lengths):
        assert_close(logits[row, :length], model.logits[row, 1 : 1 + length])
        assert_row(model.spec, state, row, model.steps[1][1 + length], row)
    # And on, behind the padding, which may have left empty slots between the tokens.
    logits, state = model(
        np.where([[False], [True], [True]], TOKENS[range(ROWS), [0, 3, 1]][:, None], 0), state
    )
    for row, read in [(1, 3), (2, 1)]:
        assert_close(logits[row, 0], model.logits[row, read])
        assert_row(model.spec, state, row, model.steps[1][read + 1], row)
    assert_row(model.spec, state, 0, model.steps[1][TIME], 0)


def test_rows_do_not_see_each_other(model):
    # Three copies of a row are that row alone.
    token_ids = TOKENS[[1, 1, 1]]
    start = contract.take(model.spec, model.start(), [1, 1, 1])
    logits, state = model(token_ids, start)
    for row in range(ROWS):
        assert_close(logits[row], model.logits[1])
        assert_row(model.spec, state, row, model.steps[1][TIME], 1)
    order = [2, 0, 1]
    logits, state = model(TOKENS[order], contract.take(model.spec, model.start(), order))
    assert_close(logits, model.logits[order])
    for row, source in enumerate(order):
        assert_row(model.spec, state, row, model.steps[1][TIME], source)


def test_rows_of_one_source_look_at_one_copy(model):
    start = model.start()
    rows = np.array([1, 1, 0, 0])
    token_ids = np.stack([TOKENS[1], TOKENS[1], TOKENS[0], TOKENS[0]])
    shared = contract.take(model.spec, start, rows)
    assert {len(shared[name]) for name in model.spec.constants} <= {2}
    token_ids[[0, 2], -1] = 0
    logits, state = model(token_ids, shared)
    for row, source in enumerate(rows):
        read = TIME - 1 if row in (0, 2) else TIME
        assert_close(logits[row, :read], model.logits[source, :read])
        assert_row(model.spec, shared | state, row, model.steps[1][read], source)


@pytest.mark.parametrize("capacity", [None, TIME])
def test_rows_come_and_go(model, capacity):
    # The first row has read four tokens, the others two: joined, they go on together.
    states = [model.start(capacity)]
    for t in range(4):
        states.append(model(TOKENS[:, t : t + 1], states[-1])[1])
    read = [4, 2, 2]
    parts = [contract.take(model.spec, *part) for part in ((states[4], [0]), (states[2], [1, 2]))]
    state = contract.join(model.spec, parts)
    model.spec.check(state)
    for row in range(ROWS):
        assert_row(model.spec, state, row, model.steps[1][read[row]], row)
    logits, state = model(TOKENS[range(ROWS), read][:, None], state)
    assert_close(logits[:, 0], model.logits[range(ROWS), read])
    # The longest leaves, and its slots with it; a row may be taken twice.
    rows = [2, 1, 2]
    state = contract.trim(model.spec, contract.take(model.spec, state, rows))
    assert {state[leaf.name].shape[leaf.slot_axis] for leaf in model.spec if leaf.slots} <= {3}
    state = contract.widen(model.spec, state, capacity or 0)
    logits, _ = model(TOKENS[rows, 3:4], state)
    assert_close(logits[:, 0], model.logits[rows, 3])


def test_training_reads_the_tokens_alone(model):
    # What KerasHub's preprocessors send besides is dropped; padding changes no other token.
    mask = np.ones_like(TOKENS)
    more = {"padding_mask": mask, "encoder_padding_mask": np.ones_like(SOURCES)}
    np.testing.assert_array_equal(model.whole(TOKENS, **more), model.logits)
    padded = np.where(np.arange(TIME) < [[5], [2], [4]], TOKENS, 0)
    logits = model.whole(padded)
    assert logits.dtype == "float32"
    for row, read in enumerate([5, 2, 4]):
        assert_close(logits[row, :read], model.logits[row, :read])


def test_a_preset_gives_the_model_back(model, tmp_path):
    model.backbone.save_to_preset(str(tmp_path))
    loaded = keras_hub.models.Backbone.from_preset(str(tmp_path))
    assert type(loaded.network) is type(model.network)
    assert loaded.network.get_config() == model.network.get_config()
    for weight, original in zip(loaded.weights, model.backbone.weights, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(weight), ops.convert_to_numpy(original), weight.path
        )
    logits = loaded({"token_ids": TOKENS} | model.sources)
    np.testing.assert_array_equal(ops.convert_to_numpy(logits), model.logits)


@pytest.mark.parametrize(
    "name", [name for name, (kind, _) in _table["SMALL"].items() if hasattr(kind, "encode")]
)
def test_padding_of_a_source_changes_nothing(name):
    model = model_named(name)
    batch = {name: ops.convert_to_numpy(x) for name, x in model.network.encode(SOURCES).items()}
    spec = contract.StateSpec(tuple(leaf for leaf in model.spec if leaf.name in batch))
    for row, source in enumerate(SOURCES):
        alone = model.network.encode(source[None, source != 0])
        assert_row(spec, batch, row, {n: ops.convert_to_numpy(x) for n, x in alone.items()}, 0)


def test_attention_weights_are_given_on_request(model):
    inputs = {"token_ids": TOKENS} | model.sources
    seen = {n: ops.convert_to_numpy(x) for n, x in model.backbone.attention(inputs).items()}
    if not model.network.has_attention:
        assert seen == {}
        return
    assert seen
    for name, weights in seen.items():
        # Of a source as many of its own slots as a row has tokens; of a target those up to itself.
        past = np.tri(TIME, dtype=bool)[None, None]
        source = (SOURCES != 0)[:, None, None]
        allowed = past if name.startswith("layer") and name.endswith("self") else source
        assert np.all(weights[~np.broadcast_to(allowed, weights.shape)] == 0)
        assert_close(weights.sum(-1), 1)
        assert weights.shape[::2] == (ROWS, SOURCES.shape[1] if "encoder" in name else TIME)
    # Asking changes nothing else; and the last token by itself sees the same.
    logits, new, last = model.network(TOKENS[:, -1:], model.steps[1][-2], attention=True)
    assert_close(ops.convert_to_numpy(logits)[:, 0], model.logits[:, -1])
    assert set(new) == {leaf.name for leaf in model.spec if leaf.kind in ("carried", "cache")}
    for name, weights in last.items():
        assert_close(ops.convert_to_numpy(weights)[:, :, 0], seen[name][:, :, -1])


@pytest.mark.slow
def test_half_precision_is_roughly_the_same(model):
    """Built and run in bfloat16; the logits are in full."""
    config = model.backbone.get_config() | {"dtype": "bfloat16"}
    rough = type(model.backbone).from_config(config)
    rough.set_weights([ops.convert_to_numpy(weight) for weight in model.backbone.weights])
    logits = rough({"token_ids": TOKENS, **model.sources})
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    # Eight bits, over some layers and steps of weights that are not small.
    np.testing.assert_allclose(ops.convert_to_numpy(logits), model.logits, atol=0.5)
