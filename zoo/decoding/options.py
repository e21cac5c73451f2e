"""What a caller may ask of a decoder."""

from dataclasses import dataclass, fields
from typing import Any, Literal


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
    """How one text is written; checked once, when made. A list is as good as a tuple.

    Args:
        max_tokens: most tokens to write, the end token among them.
        min_tokens: how many tokens stand before the end token, at least.
        max_seconds: the text ends with the first token after this time, counted from when the
            request is taken up.
        stop: the text ends before the first of these strings.
        temperature: 0 takes the most probable token each time (greedy), or searches with
            `beam_size`; above it tokens are drawn from softmax(logits / temperature).
        top_k: draw from the k most probable tokens only.
        top_p: draw from the fewest most probable tokens whose probabilities add up to this
            (Holtzman et al. 2020, arXiv:1904.09751, section 3.1).
        min_p: draw from the tokens that are at least this share as probable as the most probable
            one (Nguyen et al. 2024, arXiv:2407.01082).
        seed: of the draws; equal seeds give equal texts, alone and in any batch. `None`: a new one.
        beam_size: search for the text of the best score, with so many beginnings kept at each step.
        n_best: how many of the texts found come back.
        length_penalty: alpha; a text Y has the score log P(Y) / lp(Y). With 0 that is log P(Y).
        length_penalty_form: "wu", lp(Y) = ((5 + |Y|) / 6)^alpha (Wu et al. 2016, arXiv:1609.08144,
            equation 14), or "plain", |Y|^alpha; |Y| counts the tokens, the end token among them.
        early_stopping: the search ends once `beam_size` texts have ended; otherwise when none that
            goes on can become better, as long as no other option makes tokens more probable.
        repetition_penalty: the logits of tokens that stand in the prompt or the text are divided by
            this where positive, multiplied where not (Keskar et al. 2019, arXiv:1909.05858, 4.1).
        frequency_penalty: taken off the logit of a token each time that it stands in the text.
        presence_penalty: taken off the logit of a token that stands in the text.
        no_repeat_ngram: no so many tokens in a row stand twice in prompt and text together
            (Paulus et al. 2018, arXiv:1705.04304, section 2.5).
        bad_words: not to be written, each in the tokens that the tokenizer has for it at the
            beginning of a text and after a space; a model may spell it in others.
        suppress_ids: tokens not to be written.
        logit_bias: pairs of a token and what is added to its logit.
        prefix: what the text begins with.

    Raises:
        InvalidOption: an option is out of its range, or contradicts another.
    """

    max_tokens: int = 100
    min_tokens: int = 0
    max_seconds: float | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    beam_size: int = 1
    n_best: int = 1
    length_penalty: float = 0.0
    length_penalty_form: Literal["wu", "plain"] = "wu"
    early_stopping: bool = False
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    no_repeat_ngram: int | None = None
    bad_words: tuple[str, ...] = ()
    suppress_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    prefix: str = ""

    def __post_init__(self):
        for field in fields(self):
            object.__setattr__(self, field.name, _tuples(getattr(self, field.name)))
        for names, is_valid, allowed in _RANGES:
            for name in names:
                value = getattr(self, name)
                if not is_valid(value) and not (value is None and name in _NONE_IS_DEFAULT):
                    raise InvalidOption(name, value, allowed)
        for name, is_asked, allowed in _contradictions(self):
            if is_asked:
                raise InvalidOption(name, getattr(self, name), allowed)


def _tuples(value):
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


# === Ranges ===


def _integer(least):
    return lambda value: type(value) is int and value >= least


def _number(least, most):
    # NaN is in no range.
    return lambda value: type(value) in (int, float) and least <= value <= most


def _share(value):
    return _number(0, 1)(value) and value > 0


def _is_text(value):
    # A lone surrogate is no character.
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _each(is_valid):
    return lambda value: isinstance(value, tuple) and all(map(is_valid, value))


def _is_bias(pair):
    two = isinstance(pair, tuple) and len(pair) == 2
    return two and _integer(1)(pair[0]) and _number(-1000, 1000)(pair[1])


_NONE_IS_DEFAULT = {f.name for f in fields(Options) if f.default is None}
_LARGEST = 1e300

_RANGES = (
    (("max_tokens", "beam_size", "n_best"), _integer(1), "an integer from 1"),
    (("top_k", "no_repeat_ngram"), _integer(1), "an integer from 1"),
    (("min_tokens", "seed"), _integer(0), "an integer from 0"),
    (("temperature",), _number(0, _LARGEST), "a finite number from 0"),
    (("top_p", "min_p"), _share, "a number above 0 and up to 1"),
    (("max_seconds",), _number(1e-9, _LARGEST), "a finite number above 0"),
    (("length_penalty",), _number(-10, 10), "a number from -10 to 10"),
    (("length_penalty_form",), ("wu", "plain").__contains__, '"wu" or "plain"'),
    (("early_stopping",), lambda value: type(value) is bool, "true or false"),
    (("repetition_penalty",), _number(0.01, 100), "a number from 0.01 to 100"),
    (("frequency_penalty", "presence_penalty"), _number(-100, 100), "a number from -100 to 100"),
    (
        ("stop", "bad_words"),
        _each(lambda text: _is_text(text) and text),
        "strings, none of them empty",
    ),
    (("suppress_ids",), _each(_integer(1)), "token ids, integers from 1"),
    (
        ("logit_bias",),
        _each(_is_bias),
        "pairs of a token id, an integer from 1, and a number from -1000 to 1000",
    ),
    (("prefix",), _is_text, "a string"),
)


def _contradictions(options):
    """Name, whether it contradicts another option, and what is allowed."""
    for name in ("top_k", "top_p", "min_p"):
        asked = options.temperature == 0 and getattr(options, name) is not None
        yield name, asked, "left out where temperature is 0, which draws nothing"
    beams, tokens = options.beam_size, options.max_tokens
    yield "temperature", options.temperature and beams > 1, "0 where beam_size is above 1"
    yield "min_tokens", options.min_tokens > tokens, f"at most max_tokens, which is {tokens}"
    yield "n_best", options.n_best > beams, f"at most beam_size, which is {beams}"
    for name in ("length_penalty", "early_stopping"):
        asked = beams == 1 and getattr(options, name)
        yield name, asked, "left out where beam_size is 1, which searches for nothing"
