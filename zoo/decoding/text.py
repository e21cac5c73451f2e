"""Characters from tokens as they come, and the strings that end a text."""

import copy
from collections.abc import Iterable, Sequence

from zoo.tokenizers import Detokenizer, Tokenizer


class Characters:
    """The text of a growing list of tokens, up to the first of some strings.

    Args:
        tokenizer: of the text.
        prompt_ids: what stands before the text, which decides on a space at its beginning.
        stop: the strings, none of them empty.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Iterable[int], stop: Sequence[str]):
        self._detokenizer = Detokenizer(tokenizer)
        for token_id in prompt_ids:
            self._detokenizer.push(token_id)
        self._stop_strings = StopStrings(stop)

    def copy(self) -> "Characters":
        """The same, to go on with other tokens."""
        new = copy.copy(self)
        new._detokenizer = copy.copy(self._detokenizer)
        new._stop_strings = copy.copy(self._stop_strings)
        return new

    def push(self, token_id: int) -> tuple[str, bool]:
        """The characters that are settled by this token, and whether a string has ended them."""
        return self._stop_strings.push(self._detokenizer.push(token_id))

    def flush(self) -> tuple[str, bool]:
        """What is left at the end, and whether a string has ended it after all."""
        text, stopped = self._stop_strings.push(self._detokenizer.flush())
        return (text, True) if stopped else (text + self._stop_strings.flush(), False)


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
        if not self._stop:
            return piece, False
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
