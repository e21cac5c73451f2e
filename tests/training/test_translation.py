"""Translating many sentences, and BLEU and chrF of them, without Keras."""

import numpy as np
import pytest

from training import command_line, translation
from training.recipe import UserError
from zoo import decoding, tokenizers
from zoo.contract import Decodable, Leaf, StateSpec

TEXTS = ["a cat", "the dog sees a cat", "", "  ", "cat", "the cat sees the dog and a dog", "dog"]


class Copier(Decodable):
    """Translates a sentence into itself: the state is the source and how much of it is written."""

    state_spec = StateSpec((Leaf("source", (40,), "int32", "constant"), Leaf("at", (1,), "int32")))

    def __init__(self):
        self.tokenizer = self.source_tokenizer = tokenizers.train_words(TEXTS)
        self.batches = []

    def start(self, source_ids_or_batch):
        sources = np.asarray(source_ids_or_batch)
        self.batches.append(len(sources))
        padded = np.zeros((len(sources), 40), "int32")
        padded[:, : sources.shape[1]] = sources
        return {"source": padded, "at": np.zeros((len(sources), 1), "int32")}

    def read(self, token_ids, state):
        logits = np.full((*token_ids.shape, self.tokenizer.vocabulary_size), -9.0, "float32")
        nexts = np.take_along_axis(state["source"], state["at"], axis=1)
        np.put_along_axis(logits[:, -1], nexts, 9.0, axis=1)
        return logits, {"at": state["at"] + 1}


class Endless(Copier):
    """Never writes the end."""

    def read(self, token_ids, state):
        logits = np.zeros((*token_ids.shape, self.tokenizer.vocabulary_size), "float32")
        logits[..., 5] = 9.0
        return logits, {"at": state["at"]}


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_each_sentence_gets_its_own_translation(batch_size):
    model = Copier()
    results = translation.translate(model, TEXTS, batch_size=batch_size)
    assert [result.text for result in results] == [text.strip() for text in TEXTS]
    assert sum(model.batches) == 5  # a blank line asks for nothing
    assert max(model.batches) == min(batch_size, 5)


def test_a_translation_that_does_not_end_is_as_long_as_its_source_allows():
    short, long = translation.translate(Endless(), ["cat", "the dog sees a cat"])
    assert (len(short.token_ids), len(long.token_ids)) == (16 + 2 * 2, 16 + 2 * 6)
    assert short.finish_reason == "length"
    options = decoding.Options(max_tokens=3)
    assert len(translation.translate(Endless(), ["cat"], options)[0].token_ids) == 3
    bounded = Endless()
    bounded.max_length = 7
    assert len(translation.translate(bounded, ["cat"])[0].token_ids) == 7


def test_a_batch_of_none_is_a_mistake():
    with pytest.raises(UserError, match="--batch-size must be at least 1"):
        command_line.write(Copier(), [], 0)


# === Scores ===


def test_bleu_by_hand():
    """Papineni et al. 2002, equation 3: matches of 1 to 4 words, and the brevity penalty."""
    outputs, references = ["the cat sat on mats"], ["the cat sat on the mat today"]
    # 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; 5 words against 7.
    precision = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    expected = 100 * np.exp(1 - 7 / 5) * precision
    quality = translation.quality(outputs, references)
    assert quality.bleu == pytest.approx(expected)
    assert quality.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert quality.chrf_signature.startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no")


def test_lower_case_is_beside_it_and_said():
    quality = translation.quality(["LE CHAT DORT ICI."], ["le chat dort ici."])
    assert quality.bleu < 50
    assert quality.bleu_lowercase == pytest.approx(100)
    assert "case:mixed" in quality.signature
    assert "case:lc" in quality.signature_lowercase


def test_scores_are_of_whole_texts():
    """The tokens are sacrebleu's, whatever the model's: the point is one by itself."""
    assert translation.quality(["il dort bien ."], ["il dort bien."]).bleu == pytest.approx(100)
    model = Copier()
    pairs = [(text, text) for text in ("the dog sees a cat", "the cat sees the dog")]
    assert translation.score(model, pairs).bleu == pytest.approx(100)


def test_bands_of_length():
    sources = ["one", " ".join("abcde"), " ".join("abcdef"), " ".join("abcdefghijk")]
    outputs = ["a b c d", "a b c d e", "a b c d x f g h", "a b c d"]
    references = ["a b c d", "a b c d e", "a b c d e f g h", "e f g h"]
    bands = translation.by_length(sources, outputs, references)
    assert [(b.first, b.last, b.count) for b in bands] == [(1, 5, 2), (6, 10, 1), (11, 15, 1)]
    assert bands[0].bleu == pytest.approx(100)
    assert 0 < bands[1].bleu < 100
    assert bands[2].bleu < 1
    assert sum(b.count for b in translation.by_length(sources, outputs, references, width=3)) == 4
