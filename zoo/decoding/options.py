"""What a caller may ask of a decoder."""

import math
from dataclasses import dataclass
from typing import Any


class InvalidOption(ValueError):
    """An option that is not possible.

    Args:
        name, value: the option.
        allowed: what it may be, to be read after "must be".
    """

    def __init__(self, name: str, value: Any, allowed: str):
        super().__init__(f"{name} must be {allowed}, not {value!r}")
        self.name = name


@dataclass(frozen=True)
class Options:
    """How one text is written; checked once, when made.

    Args:
        max_tokens: most tokens to write, the end token among them.
        temperature: 0 takes the most probable token each time (greedy); above it tokens are drawn
            from softmax(logits / temperature).
        top_k: draw from the k most probable tokens only.
        top_p: draw from the fewest most probable tokens whose probabilities add up to this
            (Holtzman et al. 2020, arXiv:1904.09751, section 3.1).
        seed: of the draws; equal seeds give equal texts, alone and in any batch. `None`: a new one.
        stop: the text ends before the first of these strings.

    Raises:
        InvalidOption: an option is out of its range, or contradicts another.
    """

    max_tokens: int = 100
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        if isinstance(self.stop, list):
            object.__setattr__(self, "stop", tuple(self.stop))
        for name, valid, allowed in (
            ("max_tokens", _integer(self.max_tokens, 1), "an integer from 1"),
            ("temperature", _number(self.temperature, 0), "a finite number from 0"),
            ("top_k", self.top_k is None or _integer(self.top_k, 1), "an integer from 1"),
            (
                "top_p",
                self.top_p is None or (_number(self.top_p, 0) and 0 < self.top_p <= 1),
                "a number above 0 and up to 1",
            ),
            ("seed", self.seed is None or _integer(self.seed, 0), "an integer from 0"),
            ("stop", _strings(self.stop), "strings, none of them empty"),
        ):
            if not valid:
                raise InvalidOption(name, getattr(self, name), allowed)
        for name in ("top_k", "top_p"):
            if self.temperature == 0 and getattr(self, name) is not None:
                allowed = "left out where temperature is 0, which draws nothing"
                raise InvalidOption(name, getattr(self, name), allowed)


def _integer(value, least):
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value, least):
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= least


def _strings(value):
    return isinstance(value, tuple) and all(isinstance(text, str) and text for text in value)
