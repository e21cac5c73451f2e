"""Models from outside the zoo: KerasHub's under the contract, any other as a forward pass."""

import keras
import keras_hub
import numpy as np
import onnxruntime
import pytest
from keras import layers, ops

from export.check import check
from export.exporter import ExportError, export, export_all
from export.foreign import adapt
from zoo.bundle import Bundle
from zoo.decoding import Decoder, Options, Request, generate, score
from zoo.tokenizers import train_characters

pytestmark = pytest.mark.slow
SIZE = 40
TOKENIZER = train_characters(map(chr, range(65, 65 + SIZE - 3)))
SIZES = {"vocabulary_size": SIZE, "num_layers": 2, "hidden_dim": 16, "intermediate_dim": 32}


def gpt2():
    sizes = SIZES | {"num_heads": 2, "max_sequence_length": 32}
    return keras_hub.models.GPT2CausalLM(keras_hub.models.GPT2Backbone(**sizes))


def llama():
    """With fewer heads of keys than of queries."""
    sizes = SIZES | {"num_query_heads": 4, "num_key_value_heads": 2}
    return keras_hub.models.LlamaCausalLM(keras_hub.models.LlamaBackbone(**sizes))


def two_inputs():
    left, right = keras.Input((4,), name="left"), keras.Input((None, 3), name="right")
    whole = layers.Dense(3)(left)[:, None] + layers.Conv1D(3, 2, padding="same")(right)
    return keras.Model([left, right], [whole, layers.Dense(2, activation="gelu")(left)])


def sequential():
    return keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(9, 4)])


MODELS = {"gpt2": gpt2, "llama": llama, "two_inputs": two_inputs, "sequential": sequential}
LANGUAGE_MODELS = ["gpt2", "llama"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """By name, the model and its directory."""
    directory = tmp_path_factory.mktemp("foreign")
    models = {}
    for name, make in MODELS.items():
        models[name] = model = make()
        for weight in model.weights:
            weight.assign(np.random.default_rng(len(name)).normal(scale=0.3, size=weight.shape))
    export_all({directory / name: model for name, model in models.items()})
    return {name: (model, directory / name) for name, model in models.items()}


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_tokens_are_those_that_kerashub_generates(bundles, name):
    model, directory = bundles[name]
    model.compile(sampler="greedy")
    prompt = np.array([[1, 5, 9, 7]])
    padded = np.pad(prompt, [(0, 0), (0, 16)])
    inputs = {"token_ids": padded, "padding_mask": (padded > 0).astype("int32")}
    expected = model.generate(inputs, stop_token_ids=None)["token_ids"]
    bundle, token_ids, written = Bundle(directory), prompt, [prompt]
    state = bundle.start(1)
    for _ in range(16):
        logits, state = bundle.step(token_ids, state)
        token_ids = logits[:, -1:].argmax(axis=-1)
        written.append(token_ids)
    np.testing.assert_array_equal(np.concatenate(written, axis=1), expected)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_logits_are_those_of_the_whole_model(bundles, name):
    model, directory = bundles[name]
    token_ids = np.array([[1, 5, 9, 7], [4, 4, 8, 39]])
    expected = model({"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)})
    bundle = Bundle(directory)
    logits, state = bundle.step(token_ids[:, :3], bundle.start(2))
    more, _ = bundle.step(token_ids[::-1, 3:], state, rows=[1, 0])
    logits = np.concatenate([logits, more[::-1]], axis=1)
    np.testing.assert_allclose(logits, ops.convert_to_numpy(expected), atol=1e-5)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_one_text_at_a_time(bundles, name):
    """The texts of several requests are those of each alone; a batch of them is refused."""
    bundle = Bundle(bundles[name][1])
    assert bundle.ragged is False
    assert bundle.tokenizer is None
    requests = [
        Request((1, *ids), options=Options(max_tokens=9, beam_size=beams))
        for ids, beams in (((5, 9, 7), 1), ((4,), 1), ((8, 8), 3))
    ]
    together = generate(bundle, TOKENIZER, requests)
    for request, result in zip(requests, together, strict=True):
        assert generate(bundle, TOKENIZER, [request]) == [result]
    with pytest.raises(ValueError, match="give it one text"):
        Decoder(bundle, TOKENIZER).add(requests)
    with pytest.raises(ValueError, match="give it one text"):
        score(bundle, TOKENIZER, requests, ["A", "B", "C"])


def test_the_adapter_writes_what_the_bundle_writes(bundles):
    model, directory = bundles["gpt2"]
    request = Request((1, 5, 9), options=Options(max_tokens=12))
    ours, theirs = (generate(m, TOKENIZER, [request])[0] for m in (adapt(model), Bundle(directory)))
    assert ours.token_ids == theirs.token_ids


def test_a_forward_pass_takes_any_batch(bundles):
    model, directory = bundles["two_inputs"]
    random = np.random.default_rng(1)
    left, right = random.normal(size=(5, 4)), random.normal(size=(5, 11, 3))
    left, right = left.astype("float32"), right.astype("float32")
    expected = model([left, right])
    session = onnxruntime.InferenceSession(directory / "forward.onnx")
    outputs = session.run(["output_0", "output_1"], {"left": left, "right": right})
    for got, tensor in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(got, ops.convert_to_numpy(tensor), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_each_is_a_bundle(bundles, name):
    assert "as they were exported" in check(bundles[name][1])


def test_a_layer_that_cannot_convert_is_named(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.erfinv(layers.Dense(2)(inputs)))
    with pytest.raises(ExportError, match=r"layer .*erfinv.* needs Erfinv, which ONNX does not"):
        export(model, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


class Unregistered(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def test_a_class_that_nothing_can_find_is_named(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Unregistered()])
    with pytest.raises(ExportError, match="Could not locate class 'Unregistered'"):
        export(model, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())
