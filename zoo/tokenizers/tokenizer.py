"""The one tokenizer class: `tokenizers.Tokenizer` with this package's special tokens and modes."""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers

from zoo.contract import PAD_ID

SPECIAL_TOKENS = ("<pad>", "<eos>", "<unk>")
EOS_ID, UNK_ID = 1, 2

# A saved file has no field for the mode, and needs none: the pre-tokenizer tells.
_MODE_OF_PRE_TOKENIZER = {
    "FixedLength": "characters",
    "ByteLevel": "byte_pairs",
    "Split": "words",
    "WhitespaceSplit": "whitespace",
}


class Tokenizer:
    """Text to token ids and back.

    Made by the trainers of this package or by `Tokenizer.load`, hardly ever directly.

    Args:
        tokenizer: a `tokenizers.Tokenizer` whose first three tokens are `SPECIAL_TOKENS`.

    Attributes:
        mode: `"characters"`, `"byte_pairs"`, `"words"` or `"whitespace"`.
        pad_id, eos_id, unk_id: 0, 1 and 2.

    Raises:
        ValueError: the tokenizer is not one that this package has made.
    """

    pad_id, eos_id, unk_id = PAD_ID, EOS_ID, UNK_ID

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        pre_tokenizer = json.loads(tokenizer.to_str())["pre_tokenizer"] or {}
        mode = _MODE_OF_PRE_TOKENIZER.get(pre_tokenizer.get("type", ""))
        specials = tuple(tokenizer.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if mode is None or specials != SPECIAL_TOKENS:
            raise ValueError(
                f"not a tokenizer of the zoo: its first tokens are {specials}, "
                f"its pre-tokenizer is {pre_tokenizer.get('type')}"
            )
        self.mode: str = mode
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without `<eos>` at either end; `[]` for the empty text.

        Raises:
            ValueError: `text` holds a lone surrogate, which is no character.
        """
        return [i for piece in pieces(text) for i in self.encode_batch([piece])[0]]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of many short texts, as `encode` gives them, on all cores."""
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:  # the library's word for it, whatever is wrong with a string
            for text in texts:
                if not isinstance(text, str):
                    raise TypeError(f"a text must be a str, not {type(text).__name__}") from None
            raise ValueError("the text holds a lone surrogate, which is not a character") from None
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """The text of `ids`, with U+FFFD where the bytes of a character are not all there.

        A longer list of ids never changes the text of its beginning, but for such a U+FFFD at its
        end. In `words` mode a space stands between two tokens, except before closing and after
        opening punctuation, around `-`, and inside straight quotation marks, which open and
        close in turn.

        Args:
            ids: token ids, of any integer type, padded or not.
            skip_special_tokens: leave out `<pad>`, `<eos>` and `<unk>`; otherwise the latter two
                are written as they are called here, and padding is left out all the same.

        Raises:
            ValueError: an id is outside of the vocabulary.
        """
        first = len(SPECIAL_TOKENS) if skip_special_tokens else PAD_ID + 1
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocabulary_size:
            raise ValueError(f"ids must be from 0 to {self.vocabulary_size - 1}")
        ids = [i for i in ids if i >= first]
        if self.mode == "words":
            return _join_words(self.token(i) for i in ids)
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def token(self, id: int) -> str:
        """The token as the vocabulary has it (a byte-pair in the byte alphabet of GPT-2).

        Raises:
            IndexError: there is no such id.
        """
        token = self._tokenizer.id_to_token(int(id)) if id >= 0 else None
        if token is None:
            raise IndexError(f"id {id} is outside of the vocabulary of {self.vocabulary_size}")
        return token

    def id(self, token: str) -> int:
        """The id of a token of the vocabulary, `unk_id` for any other."""
        id = self._tokenizer.token_to_id(token)
        return UNK_ID if id is None else id

    @property
    def vocabulary(self) -> list[str]:
        """Every token, in the order of the ids."""
        return [self.token(i) for i in range(self.vocabulary_size)]

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are, the special ones included."""
        return self._tokenizer.get_vocab_size()

    def to_json(self) -> str:
        """What `save` writes: the same text for the same tokenizer."""
        return self._tokenizer.to_str(pretty=True)

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote.

        Raises:
            ValueError: the text is not such a tokenizer.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"not a tokenizer of the zoo: {error}") from None
        return cls(tokenizer)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one `tokenizer.json`; a reader sees the old file or the new one, never a part."""
        path = Path(path)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            file.write(self.to_json())
        os.chmod(file.name, 0o644)  # a temporary file is its owner's alone
        os.replace(file.name, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Tokenizer":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a tokenizer of the zoo.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # bytes that are no UTF-8 are one too
            raise ValueError(f"{path}: {error}") from None

    def __repr__(self) -> str:
        return f"Tokenizer(mode={self.mode!r}, vocabulary_size={self.vocabulary_size})"


def pieces(text: str, size: int = 1 << 16) -> Iterator[str]:
    """Cuts a long text between a word and the space after it, where no mode has a token across:
    for each token of one call the library takes some 100 bytes, and ever more time."""
    start = 0
    while len(text) - start > size and (cut := _WORD_END.search(text, start + size)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


_WORD_END = re.compile(r"(?<=\S)(?=[ \n])")
_NO_SPACE_BEFORE = re.compile(r"[.,;:!?…%)\]}’”»\-]")
_NO_SPACE_AFTER = re.compile(r"[(\[{‘“«\-]")


def _join_words(tokens: Iterable[str]) -> str:
    text, spacing = "", FIRST_WORD
    for token in tokens:
        piece, spacing = next_word(token, spacing)
        text += piece
    return text


Spacing = tuple[bool, bool]
"""Whether the next word follows without a space, and whether a straight quotation mark is open."""

FIRST_WORD: Spacing = (True, False)


def next_word(token: str, spacing: Spacing) -> tuple[str, Spacing]:
    """A word token with the space before it, where there is one, and what holds for the next."""
    glued, quote_is_open = spacing
    is_quote = token == '"'
    closes, opens = is_quote and quote_is_open, is_quote and not quote_is_open
    glued = glued or closes or bool(_NO_SPACE_BEFORE.fullmatch(token))
    glues = opens or bool(_NO_SPACE_AFTER.fullmatch(token))
    return token if glued else " " + token, (glues, quote_is_open != is_quote)
