"""Tasks: KerasHub's generation over our state, and the same model seen by a decoder."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from zoo import contract, tokenizers
from zoo.backbone import Backbone, EncoderDecoderBackbone
from zoo.models.lstm import LSTMLanguageModel
from zoo.models.sutskever import SutskeverEncoderDecoder
from zoo.models.vaswani import VaswaniEncoderDecoder
from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer, Seq2SeqLMPreprocessor
from zoo.tasks import CausalLM, Seq2SeqLM

TEXTS = ["hello world", "the quick brown fox"]
LENGTH = 12


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train_characters(TEXTS)


@pytest.fixture(scope="module")
def language_model(tokenizer):
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=16)
    preprocessor = CausalLMPreprocessor(PresetTokenizer(tokenizer), sequence_length=LENGTH)
    model = CausalLM(Backbone(network), preprocessor)
    _sharpen(model)
    model.compile(sampler="greedy")
    return model


# A state that every call returns, and one with caches and a memory.
TRANSLATORS = {
    "sutskever": (SutskeverEncoderDecoder, {"units": 16, "num_layers": 2}),
    "vaswani": (VaswaniEncoderDecoder, {"num_layers": 1, "num_heads": 2, "hidden_dim": 16}),
}


@pytest.fixture(scope="module", params=TRANSLATORS)
def translator(tokenizer, request):
    kind, options = TRANSLATORS[request.param]
    network = kind(tokenizer.vocabulary_size, **options)
    preprocessor = Seq2SeqLMPreprocessor(
        PresetTokenizer(tokenizer), encoder_sequence_length=8, decoder_sequence_length=LENGTH
    )
    model = Seq2SeqLM(EncoderDecoderBackbone(network), preprocessor)
    _sharpen(model)
    model.compile(sampler="greedy")
    return model


def _sharpen(model):
    """Weights so large that no two candidates of a greedy choice are close, on any backend."""
    generator = np.random.default_rng(0)
    for variable in model.backbone.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))


def _greedy(model, state, token_ids, steps, stop=tokenizers.EOS_ID):
    """Greedy decoding of one row by hand: whole logits, one token at a time."""
    chosen = []
    for _ in range(steps):
        logits, state = model.step(np.array([token_ids]), state)
        logits[..., tokenizers.PAD_ID] = -np.inf
        token_ids = [int(logits[0, -1].argmax())]
        if token_ids[0] == stop:
            break
        chosen += token_ids
    return chosen


def test_generate_is_greedy_decoding_step_by_step(language_model, tokenizer):
    # Prompts of unlike lengths in one batch: each is completed as if alone.
    prompts = ["hel", "the q", ""]
    texts = language_model.generate(prompts, max_length=LENGTH)
    for prompt, text in zip(prompts, texts, strict=True):
        ids = [tokenizers.EOS_ID, *tokenizer.encode(prompt)]
        chosen = _greedy(language_model, language_model.start(1), ids, LENGTH - len(ids))
        assert text == prompt + tokenizer.decode(chosen)


def test_generate_translates_as_steps_do(translator, tokenizer):
    sources = ["hello", "brow"]  # of unlike lengths
    texts = translator.generate(sources, max_length=LENGTH)
    for source, text in zip(sources, texts, strict=True):
        state = translator.start([[*tokenizer.encode(source), tokenizers.EOS_ID]])
        chosen = _greedy(translator, state, [tokenizers.EOS_ID], LENGTH - 1)
        assert text == tokenizer.decode(chosen)


def test_a_decoder_is_given_the_attention_of_whole_sequences(translator):
    sources = np.array([[4, 5, 6, 1, 0], [7, 1, 0, 0, 0], [5, 6, 7, 8, 1]], "int32")
    token_ids = np.array([[1, 6, 7], [1, 5, 0], [1, 4, 9]], "int32")
    weights = translator.attention(token_ids, translator.start(sources))
    expected = translator.backbone.attention({"encoder_token_ids": sources, "token_ids": token_ids})
    assert set(weights) == {name for name in expected if not name.startswith("encoder")}
    for name, array in weights.items():
        given, whole = array, ops.convert_to_numpy(expected[name])
        if name.endswith("cross"):
            given = given[..., : whole.shape[-1]]  # the source may have been padded
        real = (token_ids != 0)[:, None, :, None]
        np.testing.assert_allclose(given * real, whole * real, 1e-5, 1e-5)


def test_beams_see_their_own_source(translator):
    translator.compile(sampler=keras_hub.samplers.BeamSampler(num_beams=3))
    sources = ["hello", "brow"]  # of unlike lengths
    texts = translator.generate(sources, max_length=LENGTH)
    assert texts == [translator.generate(source, max_length=LENGTH) for source in sources]
    translator.compile(sampler="greedy")


SAMPLERS = keras_hub.samplers


@pytest.mark.parametrize(
    "sampler",
    [
        SAMPLERS.TopKSampler(k=1),
        SAMPLERS.TopPSampler(p=1e-6),
        SAMPLERS.RandomSampler(temperature=1e-4),
        SAMPLERS.BeamSampler(num_beams=1),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_sampler_with_one_choice_is_greedy(language_model, sampler):
    prompts = ["hel", "the q"]
    greedy = language_model.generate(prompts, max_length=LENGTH)
    language_model.compile(sampler=sampler)
    texts = language_model.generate(prompts, max_length=LENGTH)
    language_model.compile(sampler="greedy")
    assert texts == greedy


def test_a_beam_that_holds_everything_finds_the_best(language_model, tokenizer):
    """As many beams as tokens: of all texts of two tokens the most probable one."""
    language_model.compile(sampler=SAMPLERS.BeamSampler(num_beams=tokenizer.vocabulary_size))
    given = {"token_ids": np.array([[1, 0, 0]]), "padding_mask": np.array([[1, 0, 0]])}
    found = ops.convert_to_numpy(language_model.generate_step(given)["token_ids"])[0, 1:]
    language_model.compile(sampler="greedy")
    size = tokenizer.vocabulary_size
    first, state = language_model.step(np.array([[1]]), language_model.start(1))
    rows = language_model.take(state, [0] * (size - 1))
    second, _ = language_model.step(np.arange(1, size)[:, None], rows)
    total = contract.log_softmax(first[0, 0, 1:])[:, None] + contract.log_softmax(second[:, 0, 1:])
    best = np.unravel_index(total.argmax(), total.shape)
    np.testing.assert_array_equal(found, np.array(best) + 1)


def test_draws_have_the_probabilities_of_the_model(language_model, tokenizer):
    """1,000 texts of one token, whose shares are within four standard deviations of what the
    logits say. Padding is never drawn."""
    language_model.compile(sampler=SAMPLERS.RandomSampler(seed=0, temperature=3.0))
    given = {"token_ids": np.full((1000, 2), [1, 0]), "padding_mask": np.full((1000, 2), [1, 0])}
    drawn = language_model.generate_step(given)["token_ids"]
    language_model.compile(sampler="greedy")
    shares = np.bincount(ops.convert_to_numpy(drawn)[:, 1], minlength=tokenizer.vocabulary_size)
    logits, _ = language_model.step(np.array([[1]]), language_model.start(1))
    weights = np.exp(logits[0, 0] / 3)
    weights[0] = 0
    expected = weights / weights.sum()
    deviation = np.sqrt(expected * (1 - expected) / 1000)
    assert np.all(np.abs(shares / 1000 - expected) <= 4 * deviation)


def test_contrastive_search_says_that_it_needs_hidden_states(language_model):
    """Which the contract does not have: a bigram has none."""
    language_model.compile(sampler="contrastive")
    with pytest.raises(ValueError, match="hidden_states"):
        language_model.generate("he", max_length=LENGTH)
    language_model.compile(sampler="greedy")


def test_the_text_of_a_string_is_the_string(language_model):
    assert isinstance(language_model.generate("he", max_length=LENGTH), str)


def test_fit_takes_raw_texts(tokenizer):
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=16)
    preprocessor = CausalLMPreprocessor(PresetTokenizer(tokenizer), sequence_length=LENGTH)
    model = CausalLM(Backbone(network), preprocessor)
    model.compile(optimizer="adam")
    losses = model.fit(TEXTS * 4, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_the_best_candidates_are_those_of_the_logits(language_model, tokenizer):
    ids = np.array([[1, *tokenizer.encode("he")], [1, *tokenizer.encode("q"), 0]])
    logits, _ = language_model.step(ids, language_model.start(2))
    (best, log_probs), _ = language_model.step(ids, language_model.start(2), want=3)
    last = np.stack([logits[0, 2], logits[1, 1]]).astype("float64")[:, 1:]  # without padding
    expected = last - np.log(np.exp(last).sum(axis=-1, keepdims=True))
    np.testing.assert_array_equal(best - 1, np.argsort(-last, axis=-1)[:, :3])
    np.testing.assert_allclose(log_probs, -np.sort(-expected, axis=-1)[:, :3], atol=1e-5)


def test_rows_are_taken_before_the_step(language_model):
    state = language_model.start(2)
    _, state = language_model.step(np.array([[4], [5]]), state)
    _, crossed = language_model.step(np.array([[6], [7]]), state, rows=[1, 0])
    _, alone = language_model.step(np.array([[6], [7]]), language_model.take(state, [1, 0]))
    for name, array in alone.items():
        np.testing.assert_array_equal(array, crossed[name])


def test_preprocessor_marks_ends_and_shifts_targets(language_model, tokenizer):
    inputs, target, weight = language_model.preprocessor(["he"], sequence_length=5)
    h, e = tokenizer.encode("he")
    np.testing.assert_array_equal(ops.convert_to_numpy(inputs["token_ids"]), [[1, h, e, 1, 0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(target), [[h, e, 1, 0, 0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(weight), [[1, 1, 1, 0, 0]])


def test_source_ends_and_does_not_begin_with_a_mark(translator, tokenizer):
    pair = {"encoder_text": ["he"], "decoder_text": ["fo"]}
    inputs, target, _ = translator.preprocessor(pair, sequence_length=4)
    (h, e), (f, o) = tokenizer.encode("he"), tokenizer.encode("fo")
    source = ops.convert_to_numpy(inputs["encoder_token_ids"])
    np.testing.assert_array_equal(source, [[h, e, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(inputs["token_ids"]), [[1, f, o, 1]])
    np.testing.assert_array_equal(ops.convert_to_numpy(target), [[f, o, 1, 0]])


def test_own_source_tokenizer_comes_back_from_a_preset(tokenizer, tmp_path):
    other = tokenizers.train_characters(["xyz"])
    network = SutskeverEncoderDecoder(
        tokenizer.vocabulary_size,
        source_vocabulary_size=other.vocabulary_size,
        units=4,
        num_layers=1,
    )
    preprocessor = Seq2SeqLMPreprocessor(
        PresetTokenizer(tokenizer),
        source_tokenizer=PresetTokenizer(other),
        encoder_sequence_length=4,
        decoder_sequence_length=4,
    )
    Seq2SeqLM(EncoderDecoderBackbone(network), preprocessor).save_to_preset(tmp_path)
    loaded = keras_hub.models.Seq2SeqLM.from_preset(str(tmp_path)).preprocessor
    pair = {"encoder_text": ["xy"], "decoder_text": ["he"]}
    for given, expected in zip(loaded(pair), preprocessor(pair), strict=True):
        if isinstance(given, dict):
            given, expected = given["encoder_token_ids"], expected["encoder_token_ids"]
        np.testing.assert_array_equal(ops.convert_to_numpy(given), ops.convert_to_numpy(expected))
    assert loaded.source_tokenizer.get_vocabulary()[3:] == ["x", "y", "z"]


def test_dropout_acts_in_fit_and_nowhere_else(tokenizer):
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=16, dropout=0.999)
    preprocessor = CausalLMPreprocessor(PresetTokenizer(tokenizer), sequence_length=LENGTH)
    model = CausalLM(Backbone(network), preprocessor)
    _sharpen(model)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    (dropped,) = model.fit(TEXTS, verbose=0).history["loss"]
    assert abs(dropped - model.evaluate(TEXTS, verbose=0)[0]) > 0.1
