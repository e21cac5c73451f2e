"""Makes a tokenizer from texts. Equal texts in equal order give an equal tokenizer."""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from zoo.tokenizers.tokenizer import SPECIAL_TOKENS, UNK_ID, Tokenizer, pieces

MODES = ("characters", "byte_pairs", "words", "whitespace")

# Letters, digits and combining marks with the apostrophes between them; or one other character.
_WORD = r"\w+(?:['’]\w+)*|[^\w\s]"


def train(mode: str, texts: Iterable[str], vocabulary_size: int | None = None) -> Tokenizer:
    """A tokenizer of any mode.

    Args:
        mode: one of `MODES`.
        texts: what the vocabulary is taken from: the training part, and no other.
        vocabulary_size: the most tokens it may have, special ones included; None for all that
            `texts` have. Byte-pairs have no natural end and need one.

    Raises:
        ValueError: there is no such mode, or the size does not suit it.
    """
    if mode == "characters":
        return train_characters(texts, vocabulary_size)
    if mode == "byte_pairs":
        return train_byte_pairs(texts, vocabulary_size)
    if mode in ("words", "whitespace"):
        return train_words(texts, vocabulary_size, mode)
    raise ValueError(f"no tokenizer has the mode {mode!r}; the modes are {', '.join(MODES)}")


def train_characters(texts: Iterable[str], vocabulary_size: int | None = None) -> Tokenizer:
    """One token for each code point of `texts`, in the order of the code points.

    With a `vocabulary_size` only the most frequent ones; any other character is `<unk>`.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    tokenizer = tokenizers.Tokenizer(
        _word_level(sorted(token for token, _ in _most_frequent(counts, vocabulary_size)))
    )
    tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(1)
    tokenizer.decoder = decoders.Fuse()
    return Tokenizer(tokenizer)


def train_words(
    texts: Iterable[str], vocabulary_size: int | None = None, mode: str = "words"
) -> Tokenizer:
    """One token for each of the most frequent words, the most frequent first.

    Words that occur equally often are in alphabetical order, so that the order is settled.

    Args:
        texts: documents or lines.
        vocabulary_size: the most tokens, special ones included; None for every word.
        mode: `"words"` sets punctuation apart, keeps upper case, and takes `don't` as one word;
            `"whitespace"` takes what stands between spaces, and `<unk>` and `<eos>` literally.
    """
    whitespace = mode == "whitespace"
    pre_tokenizer = (
        pre_tokenizers.WhitespaceSplit()
        if whitespace
        else pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    )
    counts: Counter[str] = Counter()
    for text in texts:
        for line in text.split("\n"):  # no word spans lines, and short strings are fast
            counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(line))
    words = [word for word, _ in _most_frequent(counts, vocabulary_size)]
    tokenizer = tokenizers.Tokenizer(_word_level(words))
    tokenizer.pre_tokenizer = pre_tokenizer
    if whitespace:  # id 0 is padding and nothing else, so the literal must not reach it
        tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<pad>(?!\S)"), "<unk>")
    return Tokenizer(tokenizer)


def train_byte_pairs(texts: Iterable[str], vocabulary_size: int | None) -> Tokenizer:
    """Byte-level byte-pair encoding, as GPT-2 has it (Sennrich 2016; Radford 2019, section 2.2).

    All 256 bytes are in the vocabulary, so that any text can be encoded and no token is `<unk>`.

    Raises:
        ValueError: `vocabulary_size` is missing or below 259 (the bytes and the special tokens).
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(SPECIAL_TOKENS)
    if vocabulary_size is None or vocabulary_size < smallest:
        raise ValueError(
            f"byte-pairs need a vocabulary_size of at least {smallest}, not {vocabulary_size}"
        )
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(
        (piece for text in texts for piece in pieces(text)),
        BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        ),
    )
    # The trainer registers the special tokens to be found in a text, where anyone could type
    # them. A new tokenizer around the same model has their ids and does not look for them.
    tokenizer = tokenizers.Tokenizer(trained.model)
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return Tokenizer(tokenizer)


def _most_frequent(counts: Counter[str], vocabulary_size: int | None) -> list[tuple[str, int]]:
    for special in SPECIAL_TOKENS:  # whitespace mode: they have their ids already
        counts.pop(special, None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if vocabulary_size is None:
        return ranked
    if vocabulary_size < len(SPECIAL_TOKENS):
        raise ValueError(f"vocabulary_size must be at least 3, not {vocabulary_size}")
    return ranked[: vocabulary_size - len(SPECIAL_TOKENS)]


def _word_level(tokens: list[str]) -> models.WordLevel:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *tokens])}
    return models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNK_ID])
