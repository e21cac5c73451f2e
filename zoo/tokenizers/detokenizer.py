"""The text of tokens that come one after the other."""

import codecs

from zoo.tokenizers.tokenizer import FIRST_WORD, SPECIAL_TOKENS, Tokenizer, next_word


class Detokenizer:
    """The text of a growing list of tokens, one whole character after the other.

    What `push` gives of each token and `flush` at the end is together what `Tokenizer.decode` gives
    of all, at a cost that does not depend on how many there were. A character may be several
    tokens: its bytes are held back until all are there. `copy.copy` gives one that goes on alone.

    Args:
        tokenizer: that made the tokens.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._bytes = b""
        self._spacing = FIRST_WORD
        self._is_first = True

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        if token_id < len(SPECIAL_TOKENS):
            return ""
        token = self._tokenizer.token(token_id)
        if self._tokenizer.mode == "byte_pairs":
            # Three bytes at most are left: what cannot begin a character is replaced at once.
            self._bytes += bytes(map(_BYTE_OF.__getitem__, token))
            text, used = codecs.utf_8_decode(self._bytes, "replace", False)
            self._bytes = self._bytes[used:]
            return text
        if self._tokenizer.mode == "words":
            token, self._spacing = next_word(token, self._spacing)
        elif self._tokenizer.mode == "whitespace" and not self._is_first:
            token = " " + token
        self._is_first = False
        return token

    def flush(self) -> str:
        """What is left at the end: bytes that make no character, as U+FFFD."""
        rest, self._bytes = self._bytes, b""
        return rest.decode("utf-8", "replace")


# GPT-2 writes a byte as the character of its number where that one is printable, and else as one
# of those from U+0100 on, in turn (Radford et al. 2019, `bytes_to_unicode` of their encoder).
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = sorted({*range(256)} - {*_PRINTABLE})
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(256 + i): byte for i, byte in enumerate(_OTHERS)
}
