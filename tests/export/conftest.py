"""Two language models and a translator, trained, saved and exported once a run."""

import os
from types import SimpleNamespace

import pytest

TEXTS = ["the cat sees the dog.", "the dog hears a cat.", "a bird sees the cat."] * 4
PAIRS = {
    "encoder_text": ["the cat", "the dog", "a cat", "a dog"] * 4,
    "decoder_text": ["le chat", "le chien", "un chat", "un chien"] * 4,
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """By name, `lstm`, `transformer` and `sutskever`: the `task` as loaded from its preset, its
    `bundle`, and the bundle's `directory`."""
    from filelock import FileLock

    import zoo
    from export.exporter import export_all
    from zoo.bundle import Bundle

    # Processes of one run share what the first of them makes.
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "exported"
    makers = {"lstm": lstm, "transformer": transformer, "sutskever": translator}
    with FileLock(f"{root}.lock"):
        if not root.exists():
            for name, make in makers.items():
                zoo.presets.save(make(), root / "presets" / name)
            export_all({root / "bundles" / name: root / "presets" / name for name in makers})
    return {
        name: SimpleNamespace(
            task=zoo.load(root / "presets" / name),
            bundle=Bundle(root / "bundles" / name),
            directory=root / "bundles" / name,
        )
        for name in makers
    }


def lstm():
    from zoo.models.lstm import LSTMLanguageModel

    return language_model(LSTMLanguageModel, units=32, skip_connections=True)


def transformer():
    """With what is hardest to convert: a cache, and exact GELU."""
    from zoo.models.transformer import TransformerLanguageModel

    return language_model(
        TransformerLanguageModel,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        max_sequence_length=48,
        activation="gelu",
    )


def language_model(network, **sizes):
    from zoo.backbone import Backbone
    from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer
    from zoo.tasks import CausalLM
    from zoo.tokenizers import train_characters

    tokenizer = PresetTokenizer(train_characters(TEXTS))
    backbone = Backbone(network(tokenizer.vocabulary_size(), **sizes))
    task = CausalLM(backbone, CausalLMPreprocessor(tokenizer, sequence_length=24))
    return fitted(task, TEXTS, epochs=5)


def translator():
    from zoo.backbone import EncoderDecoderBackbone
    from zoo.models.sutskever import SutskeverEncoderDecoder
    from zoo.preprocessing import PresetTokenizer, Seq2SeqLMPreprocessor
    from zoo.tasks import Seq2SeqLM
    from zoo.tokenizers import train_characters, train_words

    source = PresetTokenizer(
        train_words(PAIRS["encoder_text"]), config_file="source_tokenizer.json"
    )
    target = PresetTokenizer(train_characters(PAIRS["decoder_text"]))
    network = SutskeverEncoderDecoder(
        target.vocabulary_size(), source.vocabulary_size(), units=32, num_layers=2
    )
    preprocessor = Seq2SeqLMPreprocessor(
        target, source, encoder_sequence_length=4, decoder_sequence_length=10
    )
    return fitted(Seq2SeqLM(EncoderDecoderBackbone(network), preprocessor), PAIRS, epochs=40)


def fitted(task, data, epochs):
    import keras

    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task.compile(optimizer=keras.optimizers.Adam(0.02), loss=loss)
    task.fit(data, batch_size=4, epochs=epochs, verbose=0)
    return task
