"""Characters from tokens, stop strings, and options."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.decoding import InvalidOption, Options
from zoo.decoding.text import Detokenizer, StopStrings
from zoo.tokenizers import train_byte_pairs, train_characters, train_words

FAMILY = "e\u0301 👩‍👩‍👧 漢字\n"
BYTES = train_byte_pairs(["ab"], 262)


# === Characters ===


def written(tokenizer, prompt_ids, ids):
    detokenizer = Detokenizer(tokenizer, prompt_ids)
    return [detokenizer.push(i) for i in ids], detokenizer.flush()


def test_no_part_of_a_character_is_written():
    pieces, rest = written(BYTES, [1], BYTES.encode(FAMILY))
    assert rest == ""
    assert [piece for piece in pieces if piece] == list(FAMILY)


def test_bytes_that_make_no_character_are_written_at_the_end():
    pieces, rest = written(BYTES, [1], BYTES.encode("a漢")[:-1])
    assert "".join(pieces) == "a"
    assert rest == "�"


def test_a_character_that_the_prompt_began():
    ids = BYTES.encode("a漢b")
    pieces, rest = written(BYTES, [1, *ids[:2]], ids[2:])
    assert "".join(pieces) + rest == "漢b"


@pytest.mark.parametrize(
    "tokenizer",
    [BYTES, train_characters([FAMILY]), train_words(['a "b" (c) d.'])],
)
@given(data=st.data())
def test_pieces_make_the_text(tokenizer, data):
    ids = data.draw(st.lists(st.integers(1, tokenizer.vocabulary_size - 1)))
    cut = data.draw(st.integers(0, len(ids)))
    pieces, rest = written(tokenizer, ids[:cut], ids[cut:])
    prompt = tokenizer.decode(ids[:cut]).rstrip("�")
    assert prompt + "".join(pieces) + rest == tokenizer.decode(ids)


# === Stop strings ===


@given(
    text=st.text("abc", max_size=30),
    stop=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 30)),
)
def test_a_text_ends_before_the_first_stop_string_however_it_is_cut(text, stop, cuts):
    stops, out, ended = StopStrings(stop), "", False
    for start, end in itertools.pairwise(sorted([0, *cuts, len(text)])):
        settled, ended = stops.push(text[start:end])
        out += settled
        if ended:
            break
    # The one that is complete first ends the text.
    ends = [text.index(s) + len(s) for s in stop if s in text]
    if not ends:
        assert (out + stops.flush(), ended) == (text, False)
    else:
        assert ended
        assert out in {text[: text.index(s)] for s in stop if s in text}
        assert not any(s in out for s in stop)


def test_only_what_may_become_a_stop_string_is_held_back():
    stops = StopStrings(["\n\nQ:", "END"])
    assert [stops.push(piece) for piece in ("a\n", "\n", "b E", "NDE")] == [
        ("a", False),
        ("", False),
        ("\n\nb ", False),
        ("", True),
    ]


# === Options ===


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.0}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": 1, "top_k": 0}, "top_k"),
        ({"temperature": 1, "top_p": 1.3}, "top_p"),
        ({"temperature": 1, "top_p": 0}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"top_p": 0.5}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"stop": "."}, "stop"),
        ({"stop": ("",)}, "stop"),
    ],
)
def test_an_impossible_option_is_named(options, name):
    with pytest.raises(InvalidOption) as error:
        Options(**options)
    assert error.value.name == name
    assert str(error.value).startswith(f"{name} must be ")
    assert str(error.value).endswith(f", not {options[name]!r}")


def test_options_are_values():
    assert Options(stop=["a"]) == Options(stop=("a",))
    assert hash(Options()) == hash(Options())
