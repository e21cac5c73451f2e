"""A text that is being written: what was asked, what is there, and whether it has ended."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from zoo.decoding.options import Options
from zoo.decoding.text import Detokenizer, StopStrings

FinishReason = Literal["end", "stop", "length"]
"""The model's end token, one of the stop strings, or as many tokens as were allowed."""


_DEFAULTS = Options()


@dataclass(frozen=True)
class Request:
    """A text to be written.

    Args:
        prompt_ids: what the text begins with; the first token is `<eos>`, which starts every text.
        source_ids: the sentence to translate, `<eos>` at its end; `None` for a language model.
        options: how it is written.
    """

    prompt_ids: tuple[int, ...]
    source_ids: tuple[int, ...] | None = None
    options: Options = _DEFAULTS

    def __post_init__(self):
        if not self.prompt_ids or self.source_ids == ():
            raise ValueError("a prompt begins and a source ends with <eos>: neither is empty")

    @classmethod
    def of(cls, tokenizer, prompt="", source=None, options=_DEFAULTS, source_tokenizer=None):
        """The request for texts.

        Args:
            tokenizer: of the text, from `zoo.tokenizers`.
            prompt: what the text begins with.
            source: the sentence to translate.
            options: `Options`.
            source_tokenizer: of the source; `None`: the same.
        """
        source_ids = None
        if source is not None:
            source_tokenizer = source_tokenizer or tokenizer
            source_ids = (*source_tokenizer.encode(source), source_tokenizer.eos_id)
        prompt_ids = (tokenizer.eos_id, *tokenizer.encode(prompt))
        return cls(prompt_ids, source_ids, options)


@dataclass(frozen=True)
class Piece:
    """What one token adds to a text.

    Args:
        request: number of the request, in the order in which they were added.
        text: the characters that are settled by this token, often none or several.
        token_id: the token.
        log_prob: its natural log-probability in the model, before temperature, top-k and top-p.
        finish_reason: why the text ends here; `None` where it goes on.
    """

    request: int
    text: str
    token_id: int
    log_prob: float
    finish_reason: FinishReason | None = None


class Row:
    """One row of a batch.

    Args:
        number: of the request.
        request: the `Request`.
        tokenizer: of the text.

    Attributes:
        token_ids: what is written so far, without the prompt.
        generator: the row's own source of random numbers.
    """

    def __init__(self, number: int, request: Request, tokenizer):
        self.number = number
        self.options = request.options
        self.token_ids: list[int] = []
        self.generator = np.random.default_rng(request.options.seed)
        self.last_id = request.prompt_ids[-1]
        self._end_id = tokenizer.eos_id
        self._characters = Detokenizer(tokenizer, request.prompt_ids)
        self._stops = StopStrings(request.options.stop)

    def append(self, token_id: int, log_prob: float) -> Piece:
        """Writes one more token."""
        self.last_id = token_id
        self.token_ids.append(token_id)
        reason: FinishReason | None = None
        text, stopped = self._stops.push(self._characters.push(token_id))
        if token_id == self._end_id:
            reason = "end"
        elif not stopped and len(self.token_ids) == self.options.max_tokens:
            reason = "length"
        if reason:
            rest, stopped = self._stops.push(self._characters.flush())
            text += rest if stopped else rest + self._stops.flush()
        return Piece(self.number, text, token_id, log_prob, "stop" if stopped else reason)
