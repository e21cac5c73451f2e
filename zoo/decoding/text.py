"""Characters from tokens as they come, and where the text ends."""

from collections.abc import Sequence

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """The text of a growing list of tokens, one whole character after the other.

    A character may be several tokens: its bytes are held back until all are there.

    Args:
        tokenizer: of `zoo.tokenizers`.
        prompt_ids: what stands before the text, which decides on a space at its beginning.
    """

    def __init__(self, tokenizer, prompt_ids: Sequence[int]):
        self._tokenizer = tokenizer
        self._ids = list(prompt_ids)
        self._given = len(self._settled())

    def push(self, token_id: int) -> str:
        """The characters that this token completes."""
        self._ids.append(token_id)
        return self._rest(self._settled())

    def flush(self) -> str:
        """What is left at the end: bytes that make no character, as U+FFFD."""
        return self._rest(self._tokenizer.decode(self._ids))

    def _settled(self):
        return self._tokenizer.decode(self._ids).rstrip(_INCOMPLETE)

    def _rest(self, text):
        rest = text[self._given :]
        self._given = max(self._given, len(text))
        return rest


class StopStrings:
    """Cuts a text that comes in pieces before the first of some strings.

    What may be the beginning of one is held back until that is settled.

    Args:
        stop: the strings, none of them empty.
    """

    def __init__(self, stop: Sequence[str]):
        self._stop = tuple(stop)
        self._held = ""

    def push(self, piece: str) -> tuple[str, bool]:
        """The text that is settled by this piece, and whether a string has ended it."""
        text = self._held + piece
        found = [at for at in map(text.find, self._stop) if at >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        # The earliest place from which the text may go on to be one of the strings.
        open_at = next(
            (at for at in range(len(text)) if any(s.startswith(text[at:]) for s in self._stop)),
            len(text),
        )
        self._held = text[open_at:]
        return text[:open_at], False

    def flush(self) -> str:
        """What was held back and is no stop string after all."""
        held, self._held = self._held, ""
        return held
