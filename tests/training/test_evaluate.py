"""Scores are means over every token, each given all that the model can know before it."""

import math
import os

import keras
import numpy as np
import pytest
from keras import ops

from training import evaluate, inputs
from training.data.corpora import Corpus
from training.data.pipelines import Sequences, Streams, Strided
from training.inputs import Inputs
from training.recipe import Data, UserError
from zoo import tokenizers
from zoo.backbone import Backbone
from zoo.models.bigram import BigramCounts, BigramNetwork
from zoo.models.lstm import LSTMLanguageModel
from zoo.models.transformer import TransformerLanguageModel

VOCABULARY = 9
STREAM = np.random.default_rng(0).integers(1, VOCABULARY, 83).astype("int32")


def lstm():
    return Backbone(LSTMLanguageModel(VOCABULARY, units=5, num_layers=1))


def log_probabilities(logits):
    logits = ops.convert_to_numpy(logits)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def nats_of_the_whole(network, stream=STREAM):
    """The mean over a text that the network reads at once."""
    ids = np.concatenate([[1], stream[:-1]])[None].astype("int32")
    logits, _ = network(ids, network.zeros(ids))
    return -log_probabilities(logits)[0, np.arange(len(stream)), stream].mean()


def test_the_state_is_carried_through_the_whole_text():
    backbone = lstm()
    planner = Streams(STREAM, batch_size=1, window=10)
    scores = evaluate.scorer(backbone, planner, characters=2 * len(STREAM))()
    nats = nats_of_the_whole(backbone.network)
    assert scores["nats"] == pytest.approx(nats, abs=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
    assert scores["bits_per_character"] == pytest.approx(nats / math.log(2) / 2, rel=1e-5)
    assert 0 <= scores["top_1"] <= scores["top_5"] <= 1


def test_a_scorer_scores_the_weights_of_the_moment():
    backbone = Backbone(BigramNetwork(VOCABULARY))
    score = evaluate.scorer(backbone, Sequences([STREAM], 1), len(STREAM))
    first = score()
    backbone.network.weights_by_token.assign(np.zeros((VOCABULARY, VOCABULARY)))
    assert score()["perplexity"] == pytest.approx(VOCABULARY, rel=1e-5)
    assert first["perplexity"] != pytest.approx(VOCABULARY, rel=1e-3)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_strided_windows_count_each_token_once_and_give_it_a_context(stride):
    planner = Strided(STREAM, batch_size=4, window=8, stride=stride)
    seen = []
    inputs_of = np.concatenate([[1], STREAM])
    for x, y, weight in planner.one_pass():
        for ids, targets, counted in zip(x["token_ids"], y, weight):
            for position in np.flatnonzero(counted):
                at = len(seen)
                seen.append(targets[position])
                context = ids[: position + 1]
                np.testing.assert_array_equal(context, inputs_of[at - position : at + 1])
                assert position >= min(at, 8 - stride)
    np.testing.assert_array_equal(seen, STREAM)
    assert len(Strided(STREAM[:5], 64, 8, 4).batch(0)[1]) == 2
    with pytest.raises(UserError, match="--stride"):
        Strided(STREAM, 4, 8, 9)


def test_windows_of_a_transformer_give_what_each_window_gives_by_itself():
    network = TransformerLanguageModel(
        VOCABULARY, num_layers=1, num_heads=2, hidden_dim=8, max_sequence_length=8
    )
    planner = Strided(STREAM, batch_size=4, window=8, stride=4)
    scores = evaluate.scorer(Backbone(network), planner, len(STREAM))()
    total = 0.0
    for x, y, weight in planner.one_pass():
        lp = log_probabilities(network(x["token_ids"])[0])
        total -= (np.take_along_axis(lp, y[..., None], -1)[..., 0] * weight).sum()
    assert scores["nats"] == pytest.approx(total / len(STREAM), abs=1e-6)


def test_dynamic_evaluation_by_hand():
    """A batch is scored, then learned from: a bigram after each token, in NumPy."""
    backbone, rate, text = Backbone(BigramNetwork(VOCABULARY)), 0.7, STREAM[:12]
    logits = ops.convert_to_numpy(backbone.network.weights_by_token).copy()
    total, before = 0.0, 1
    for token in text:
        p = np.exp(logits[before]) / np.exp(logits[before]).sum()
        total -= math.log(p[token])
        logits[before] -= rate * (p - np.eye(VOCABULARY)[token])
        before = token
    planner = Strided(text, batch_size=1, window=1, stride=1)
    scores = evaluate.adapt(backbone, planner, len(text), rate)
    assert scores["nats"] == pytest.approx(total / len(text), abs=1e-5)


def test_dynamic_evaluation_learns_a_text_that_repeats_itself():
    text = np.tile([2, 3, 4, 5, 6, 7, 8, 1], 40).astype("int32")
    planner = Streams(text, batch_size=1, window=8)
    keras.utils.set_random_seed(0)
    backbone = lstm()
    static = evaluate.scorer(backbone, planner, len(text))()["nats"]
    frozen = evaluate.adapt(backbone, planner, len(text), 0.0)["nats"]
    assert frozen == pytest.approx(static, abs=1e-6)
    assert evaluate.adapt(backbone, planner, len(text), 1.0)["nats"] < 0.8 * static


def test_short_texts_are_each_by_itself():
    texts = ["abba", "b", "aab"]
    tokenizer = tokenizers.train("characters", texts)
    data = Inputs(Corpus("texts", "lines", [], [], texts), tokenizer)
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=5, num_layers=1)
    planner = evaluate.exact(data, "test", network, window=64)
    scores = evaluate.scorer(Backbone(network), planner, data.characters("test"))()
    streams = [np.array([*tokenizer.encode(text), 1]) for text in texts]
    total = sum(nats_of_the_whole(network, stream) * len(stream) for stream in streams)
    assert scores["nats"] == pytest.approx(total / 11, abs=1e-6)
    # An <eos> stands for the line end, so that tokens are characters here.
    assert scores["bits_per_character"] == pytest.approx(total / 11 / math.log(2), rel=1e-5)


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs names.txt: set ZOO_DATA")
def test_counted_bigrams_of_the_names_come_to_the_lectures_loss():
    data = inputs.load(Data(data="names", split="whole"))
    backbone = Backbone(BigramCounts(data.tokenizer.vocabulary_size))
    backbone.network.adapt(data.sequences("train"))
    planner = evaluate.exact(data, "train", backbone.network, window=64)
    assert planner.targets_per_pass == 228_146
    scores = evaluate.scorer(backbone, planner, data.characters("train"))()
    assert scores["nats"] == pytest.approx(2.4540, abs=5e-5)
