"""Characters from tokens as they come, and stop strings."""

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.decoding.text import Characters, StopStrings
from zoo.tokenizers import Detokenizer, train_byte_pairs, train_characters, train_words

FAMILY = "e\u0301 👩‍👩‍👧 漢字\n"
BYTES = train_byte_pairs(["ab"], 262)


# === Characters ===


def written(tokenizer, prompt_ids, ids):
    detokenizer = Detokenizer(tokenizer)
    for token_id in prompt_ids:
        detokenizer.push(token_id)
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


MODES = [
    BYTES,
    train_byte_pairs(["aé漢👩 " * 3], 270),
    train_characters([FAMILY]),
    train_words(['a "b" (c) d.']),
    train_words(["a b c"], mode="whitespace"),
]


@pytest.mark.parametrize("tokenizer", MODES)
@given(data=st.data())
def test_pieces_make_the_text(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1)))
    pieces, rest = written(tokenizer, [], ids)
    assert "".join(pieces) + rest == tokenizer.decode(ids)


@given(
    st.lists(st.sampled_from([0xC3, 0xA9, 0xE6, 0xBC, 0xF0, 0x9F, 0x91, 0xED, 0xA0, 0x61, 0xFF]))
)
def test_bytes_are_replaced_as_by_the_library(values):
    alphabet = {BYTES.token(i): i for i in range(3, 259)}
    # The character that stands for a byte in the vocabulary, taken from a text that has it.
    of_byte = {0x61: "a", 0xC3: "Ã", 0xA9: "©", 0xE6: "æ", 0xBC: "¼", 0xF0: "ð", 0x9F: "Ł"}
    of_byte |= {0x91: "ĳ", 0xED: "í", 0xA0: "ł", 0xFF: "ÿ"}
    ids = [alphabet[of_byte[value]] for value in values]
    pieces, rest = written(BYTES, [], ids)
    assert "".join(pieces) + rest == BYTES.decode(ids) == bytes(values).decode("utf-8", "replace")


def test_a_copy_goes_on_alone():
    tokenizer = train_words(['a "b" c'])
    quote, a, b = (tokenizer.id(token) for token in '"ab')
    one = Detokenizer(tokenizer)
    assert [one.push(i) for i in (a, quote)] == ["a", ' "']
    other = copy.copy(one)
    assert [one.push(i) for i in (b, quote, a)] == ["b", '"', " a"]
    assert [other.push(i) for i in (a, b)] == ["a", " b"]
    held = Characters(BYTES, [], ["xy"])
    x, y = BYTES.encode("xy")
    assert held.push(x) == ("", False)
    again = held.copy()
    assert held.push(y) == ("", True)
    assert again.push(x) == ("x", False)
    assert again.flush() == ("x", False)


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
