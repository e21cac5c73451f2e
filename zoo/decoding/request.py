"""What is asked of a decoder, and what it gives: requests, pieces, results."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from zoo.decoding.options import InvalidOption, Options

FinishReason = Literal["end", "stop", "length", "time"]
"""The model's end token, one of the stop strings, as many tokens or as long as was allowed."""

Top = tuple[tuple[int, float], ...]
"""Tokens and their log-probabilities in the model, the most probable first."""

_DEFAULTS = Options()


@dataclass(frozen=True)
class Request:
    """A text to be written.

    Args:
        prompt_ids: what stands before the text; the first token is `<eos>`, which starts all.
        source_ids: the sentence to translate, `<eos>` at its end; `None` for a language model.
        options: how it is written.
        attention: whether the result is to say what each token looked at.
        top: how many of the most probable tokens in the place of each token are to be told; only
            where there is no beam search.
    """

    prompt_ids: tuple[int, ...]
    source_ids: tuple[int, ...] | None = None
    options: Options = _DEFAULTS
    attention: bool = False
    top: int = 0

    def __post_init__(self):
        if self.top and self.options.beam_size > 1:
            raise InvalidOption("top", self.top, "0 where beam_size is above 1")
        if not self.prompt_ids or self.source_ids == ():
            raise ValueError("a prompt begins and a source ends with <eos>: neither is empty")

    @classmethod
    def of(
        cls,
        tokenizer,
        prompt="",
        source=None,
        options=_DEFAULTS,
        source_tokenizer=None,
        attention=False,
        top=0,
    ):
        """The request for texts.

        Args:
            tokenizer: of the text, from `zoo.tokenizers`.
            prompt: what stands before the text.
            source: the sentence to translate.
            options: `Options`.
            source_tokenizer: of the source; `None`: the same.
            attention, top: as above.
        """
        source_ids = None
        if source is not None:
            source_tokenizer = source_tokenizer or tokenizer
            source_ids = (*source_tokenizer.encode(source), source_tokenizer.eos_id)
        prompt_ids = (tokenizer.eos_id, *tokenizer.encode(prompt))
        return cls(prompt_ids, source_ids, options, attention, top)


@dataclass(frozen=True)
class Result:
    """A text that is written, or one that is given and scored.

    Args:
        text: without the prompt, and without the stop string that ended it.
        token_ids: every token of it, `<eos>` and those of a stop string included.
        log_probs: the natural log-probability of each in the model, before any option changes it.
        score: what a search ranks by: the sum of the log-probabilities, with what the filters have
            added to them, over the length penalty.
        finish_reason: why it ended; `None` for a part of a text.
        alternatives: the next best texts of a search, the best first: `n_best` with this one.
        attention: where it was asked for, and the model can tell, weights by name,
            `(heads, tokens, slots)`: what the model looked at when it wrote each token. Slot i is
            token i of the source where the name ends in `cross`, and else of prompt and text.
        top: where it was asked for, the most probable tokens in the place of each.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    finish_reason: FinishReason | None
    score: float = 0.0
    alternatives: tuple["Result", ...] = ()
    attention: dict[str, np.ndarray] | None = field(default=None, compare=False)
    top: tuple[Top, ...] = ()

    @property
    def ranked(self) -> tuple["Result", ...]:
        """This text and its alternatives, the best first."""
        return (self, *self.alternatives)


@dataclass(frozen=True)
class Piece:
    """What one token adds to a text.

    Args:
        request: number of the request, in the order in which they were added.
        text: the characters that are settled by this token, often none or several.
        token_id: the token.
        log_prob: as in `Result`.
        finish_reason: why the text ends here; `None` where it goes on.
        result: the whole, where it ends here.
        top: where it was asked for, the most probable tokens in its place.
    """

    request: int
    text: str
    token_id: int
    log_prob: float
    finish_reason: FinishReason | None = None
    result: Result | None = None
    top: Top = ()
