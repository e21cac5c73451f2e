"""Options are checked when they are made: what is impossible is named, with what is allowed."""

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.decoding import InvalidOption, Options

HUGE = 10**400


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": math.inf}, "max_seconds"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": HUGE}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 1, "top_k": 0}, "top_k"),
        ({"temperature": 1, "top_p": 1.3}, "top_p"),
        ({"temperature": 1, "top_p": 0}, "top_p"),
        ({"temperature": 1, "min_p": -0.1}, "min_p"),
        ({"temperature": 1, "min_p": math.nan}, "min_p"),
        ({"top_k": 5}, "top_k"),
        ({"top_p": 0.5}, "top_p"),
        ({"min_p": 0.5}, "min_p"),
        ({"seed": -1}, "seed"),
        ({"beam_size": 0}, "beam_size"),
        ({"beam_size": 2, "temperature": 1}, "temperature"),
        ({"beam_size": 2, "top_k": 3}, "top_k"),
        ({"n_best": 2}, "n_best"),
        ({"n_best": 5, "beam_size": 4}, "n_best"),
        ({"length_penalty": 1.0}, "length_penalty"),
        ({"length_penalty": HUGE, "beam_size": 2}, "length_penalty"),
        ({"length_penalty_form": "google"}, "length_penalty_form"),
        ({"length_penalty_form": ["wu"]}, "length_penalty_form"),
        ({"early_stopping": True}, "early_stopping"),
        ({"early_stopping": "never", "beam_size": 2}, "early_stopping"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"frequency_penalty": 1e9}, "frequency_penalty"),
        ({"presence_penalty": "a"}, "presence_penalty"),
        ({"no_repeat_ngram": 0}, "no_repeat_ngram"),
        ({"stop": "."}, "stop"),
        ({"stop": ("",)}, "stop"),
        ({"stop": ("\ud800",)}, "stop"),
        ({"bad_words": (3,)}, "bad_words"),
        ({"bad_words": "word"}, "bad_words"),
        ({"suppress_ids": (0,)}, "suppress_ids"),
        ({"suppress_ids": 5}, "suppress_ids"),
        ({"logit_bias": ((1,),)}, "logit_bias"),
        ({"logit_bias": ((1, math.inf),)}, "logit_bias"),
        ({"logit_bias": {1: 2.0}}, "logit_bias"),
        ({"prefix": None}, "prefix"),
        ({"prefix": b"a"}, "prefix"),
    ],
)
def test_an_impossible_option_is_named(options, name):
    with pytest.raises(InvalidOption) as error:
        Options(**options)
    assert error.value.name == name
    assert str(error.value).startswith(f"{name} must be ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temperature": 1, "top_p": 1.3},
            "top_p must be a number above 0 and up to 1, not 1.3",
        ),
        (
            {"temperature": 0.5, "beam_size": 4},
            "temperature must be 0 where beam_size is above 1, not 0.5",
        ),
        (
            {"beam_size": 4, "n_best": 5},
            "n_best must be at most beam_size, which is 4, not 5",
        ),
    ],
)
def test_what_is_said(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Options(**options)


def test_options_are_values():
    assert Options(stop=["a"], logit_bias=[[1, 2]]) == Options(stop=("a",), logit_bias=((1, 2),))
    assert hash(Options(stop=["a"])) == hash(Options(stop=("a",)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().max_tokens = 3


TEXT = st.text("aé \ud800", max_size=3)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Options)]), ANYTHING))
def test_whatever_is_asked_for_is_possible_or_named(options):
    name = None
    try:
        hash(Options(**options))
    except InvalidOption as error:
        name = error.name
    assert name is None or name in options
