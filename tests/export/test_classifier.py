"""A text classifier from Keras to probabilities of labels, and what cannot be one."""

import json
import runpy
from pathlib import Path

import httpx
import keras
import numpy as np
import pytest
from keras import layers

from export.check import check
from export.exporter import export_all
from export.foreign import TextClassifier
from zoo.bundle import Bundle, BundleError, Classifier, open_bundle
from zoo.tokenizers import train_characters

pytestmark = pytest.mark.slow
Server = runpy.run_path(str(Path(__file__).parents[1] / "server_process.py"))["Server"]
TOKENIZER = train_characters(["abcdefgh "])
LABELS = ["bad", "good", "neither"]
TEXTS = ["a bad cab", "d", "a fed bee", "e", "cafe cafe cafe"]


def classifier(activation=None, time=None, size=TOKENIZER.vocabulary_size, units=3):
    """Embeddings, their mean or all of them where the time is given, a dense layer."""
    pooling = layers.Flatten() if time else layers.GlobalAveragePooling1D()
    model = keras.Sequential(
        [
            keras.Input((time,), dtype="int32"),
            layers.Embedding(size, 4),
            pooling,
            layers.Dense(units, activation=activation),
        ]
    )
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.shape)).normal(size=weight.shape))
    return model


MODELS = {
    "logits": (classifier(), None),
    "probabilities": (classifier("softmax"), None),
    "one_length": (classifier(time=16), None),
    "bounded": (classifier(), 20),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("classifiers")
    models = {
        directory / name: TextClassifier(model, TOKENIZER, LABELS, max_length)
        for name, (model, max_length) in MODELS.items()
    }
    export_all(models)
    return directory


def run(parts):
    while True:
        try:
            next(parts)
        except StopIteration as end:
            return end.value


def probabilities(name):
    """Of each text alone, in Keras."""
    model, _ = MODELS[name]
    ids = map(TOKENIZER.encode, TEXTS)
    time = model.input_shape[1] or 0
    padded = [np.pad(row, (0, max(0, time - len(row))))[None] for row in ids]
    outputs = np.concatenate([model.predict_on_batch(row) for row in padded])
    if name == "probabilities":
        return outputs
    return np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_those_of_the_model(directory, name):
    """In parts or not."""
    bundle, expected = Classifier(directory / name), probabilities(name)
    ids = [bundle.tokenizer.encode(text) for text in TEXTS]
    for size in (1, 9, 1000):
        np.testing.assert_allclose(run(bundle.classify_in_parts(ids, size)), expected, atol=1e-6)


def test_what_is_served_is_the_model(directory, tmp_path):
    with Server(directory, tmp_path) as server:
        for name in MODELS:
            answer = httpx.post(f"{server.url}/classify", json={"model": name, "text": TEXTS})
            results = [
                {one["label"]: one["probability"] for one in r} for r in answer.json()["results"]
            ]
            got = [[result[label] for label in LABELS] for result in results]
            np.testing.assert_allclose(got, probabilities(name), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_each_is_a_bundle(directory, name):
    assert "as they were exported" in check(directory / name)
    bundle = open_bundle(directory / name)
    assert isinstance(bundle, Classifier)
    assert bundle.labels == tuple(LABELS)
    assert bundle.max_length == {"one_length": 16, "bounded": 20}.get(name)
    graphs = json.loads((directory / name / "manifest.json").read_text())["graphs"]
    assert list(graphs) == ["classify.onnx"]
    with pytest.raises(BundleError, match="has no state"):
        Bundle(directory / name)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (classifier(units=2), r"gives \(2,\) for 3 labels"),
        (classifier("sigmoid"), "add up to 1"),
        (classifier(size=5), "every token"),
        (keras.Sequential([keras.Input((None, 3)), layers.Dense(3)]), "one array of token ids"),
        (
            keras.Sequential(
                [
                    keras.Input((None,), dtype="int32"),
                    layers.Embedding(TOKENIZER.vocabulary_size, 4),
                    layers.Conv1D(3, 3),
                    layers.GlobalMaxPooling1D(),
                ]
            ),
            "every token",
        ),
    ],
    ids=["labels", "sigmoid", "vocabulary", "inputs", "one token"],
)
def test_what_is_no_text_classifier(model, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(model, TOKENIZER, LABELS)
