"""Tokenizers: what comes out by hand, what must come back, and what a text must not do."""

import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import tokenizers
from zoo.tokenizers import EOS_ID, MODES, PAD_ID, UNK_ID, Tokenizer
from zoo.tokenizers.tokenizer import pieces

UNICODE = (
    "café",
    unicodedata.normalize("NFD", "café"),  # e and a combining acute accent
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "漢字かな交じり文",
    "a\tb\r\nc\rd\n\n\n e  f ",
    "\0\x1b\x7f",
    "\ufeff\u2028\u00a0\u200b\u00ad",
    "שלום العربية",
    "\N{MATHEMATICAL SCRIPT SMALL A}\U0010ffff",
)
LINES = ["the cat sat on the mat.", "the dog sat on the cat.", "<pad> <eos> <unk>"]


def make(mode, texts=LINES, vocabulary_size=300):
    return tokenizers.train(mode, texts, vocabulary_size)


# === By hand ===


def test_characters_are_numbered_in_the_order_of_their_code_points():
    tokenizer = tokenizers.train_characters(["bab", "c"])
    assert tokenizer.vocabulary == ["<pad>", "<eos>", "<unk>", "a", "b", "c"]
    assert tokenizer.encode("cab!") == [5, 3, 4, UNK_ID]
    assert tokenizer.decode([5, 3, 4]) == "cab"


def test_words_are_numbered_by_frequency_then_alphabet():
    tokenizer = tokenizers.train_words(LINES[:2])
    assert tokenizer.vocabulary[3:] == ["the", ".", "cat", "on", "sat", "dog", "mat"]
    assert tokenizer.encode("the cat, the dog.") == [3, 5, UNK_ID, 3, 8, 4]


def test_only_the_most_frequent_are_kept():
    assert tokenizers.train_words(LINES[:2], 5).vocabulary[3:] == ["the", "."]
    assert tokenizers.train_characters(["aaabbc"], 5).vocabulary[3:] == ["a", "b"]
    # The two most frequent, and of those the order is that of the code points.
    assert tokenizers.train_characters(["bbbaac"], 5).vocabulary[3:] == ["a", "b"]


def test_a_word_is_letters_with_their_apostrophes_or_one_mark():
    tokenizer = tokenizers.train_words(["don't l’homme e\u0301te\u0301 x_1 -- <i> 漢字"])
    assert set(tokenizer.vocabulary[3:]) == {
        "don't", "l’homme", "e\u0301te\u0301", "x_1", "-", "<", "i", ">", "漢字",
    }  # fmt: skip


def test_byte_pairs_merge_the_most_frequent_pair_first():
    tokenizer = tokenizers.train_byte_pairs(["hug hug hug pug bun"], 262)
    # "ug" occurs 4 times, " " and "h" twice, "h" and "ug" three times, ("Ġ" is the space).
    assert tokenizer.vocabulary[259:] == ["ug", "hug", "Ġhug"]
    assert [tokenizer.token(i) for i in tokenizer.encode("hug pug")] == ["hug", "Ġ", "p", "ug"]


def test_whitespace_keeps_what_stands_between_spaces():
    tokenizer = make("whitespace", [" = Title = \n the @-@ <unk> , x. <eos>"])
    assert sorted(tokenizer.vocabulary[3:]) == [",", "=", "@-@", "Title", "the", "x."]
    assert tokenizer.encode("the <unk> <eos> y") == [tokenizer.id("the"), UNK_ID, EOS_ID, UNK_ID]


@pytest.mark.parametrize(
    "text",
    [
        'He said: "Yes, (all of) it!" and left; why?',
        "Fogg’s “forty-two” guests… don't go.",
        "x [y] {z} 50% “a”",
    ],
)
def test_words_are_joined_as_they_are_written(text):
    assert make("words", [text]).decode(make("words", [text]).encode(text)) == text


def test_words_tidy_spaces():
    text = 'a  b\n\n( c ) , " d "'
    tokenizer = make("words", [text])
    assert tokenizer.decode(tokenizer.encode(text)) == 'a b (c), "d"'


# === Identities ===


@pytest.mark.parametrize("text", UNICODE)
@pytest.mark.parametrize("mode", ["characters", "byte_pairs"])
def test_unicode_comes_back(mode, text):
    tokenizer = make(mode, UNICODE)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_any_text_comes_back_from_byte_pairs_that_never_saw_it(text):
    tokenizer = _BYTE_PAIRS
    ids = tokenizer.encode(text)
    assert min(ids, default=3) >= 3
    assert tokenizer.decode(ids) == text


_BYTE_PAIRS = make("byte_pairs")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet='<eos>pad unk\n\0é’"-.漢'))
@pytest.mark.parametrize("mode", MODES)
def test_no_text_makes_padding_and_few_make_special_tokens(mode, text):
    tokenizer = make(mode, [*LINES, text])
    ids = tokenizer.encode(text)
    assert PAD_ID not in ids
    if mode != "whitespace":
        assert EOS_ID not in ids
        assert UNK_ID not in ids


@pytest.mark.parametrize("mode", ["characters", "byte_pairs", "words"])
def test_a_special_token_that_a_user_types_is_text(mode):
    text = "<eos> <pad> <unk>"
    tokenizer = make(mode)
    assert min(tokenizer.encode(text)) > UNK_ID
    assert tokenizer.decode(tokenizer.encode(text)).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("mode", MODES)
def test_special_ids_empty_text_and_unknown_characters(mode):
    tokenizer = make(mode)
    assert [tokenizer.token(i) for i in range(3)] == ["<pad>", "<eos>", "<unk>"]
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2)
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.mode == mode
    assert len(tokenizer.vocabulary) == tokenizer.vocabulary_size == len(set(tokenizer.vocabulary))
    assert all(tokenizer.id(token) == i for i, token in enumerate(tokenizer.vocabulary))
    assert (UNK_ID in tokenizer.encode("字")) == (mode != "byte_pairs")
    assert tokenizer.id("no such token") == UNK_ID


@pytest.mark.parametrize("mode", MODES)
def test_decoding_drops_special_tokens_unless_asked(mode):
    tokenizer = make(mode)
    ids = tokenizer.encode("cat")
    assert tokenizer.decode([EOS_ID, *ids, UNK_ID, EOS_ID, PAD_ID, PAD_ID]) == "cat"
    shown = tokenizer.decode([*ids, UNK_ID, EOS_ID, PAD_ID], skip_special_tokens=False)
    assert shown.replace(" ", "") == "cat<unk><eos>"


@pytest.mark.parametrize("mode", MODES)
def test_more_ids_never_change_the_text_before_them(mode):
    text = 'the "cat" (sat) - on, 漢字 \N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL} é!'
    tokenizer = make(mode, [*LINES, text])
    ids = tokenizer.encode(text)
    whole = tokenizer.decode(ids)
    for end in range(len(ids)):
        # A character of which bytes are missing is one or more U+FFFD at the very end.
        assert whole.startswith(tokenizer.decode(ids[:end]).rstrip("\ufffd"))


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_tokenizer_is_the_same(mode, tmp_path):
    tokenizer = make(mode, [*LINES, *UNICODE])
    tokenizer.save(tmp_path / "tokenizer.json")
    tokenizer.save(tmp_path / "tokenizer.json")  # in place of the first
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    assert loaded.mode == mode
    assert loaded.vocabulary == tokenizer.vocabulary
    assert loaded.to_json() == tokenizer.to_json()
    for text in [*LINES, *UNICODE]:
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == tokenizer.decode(tokenizer.encode(text))


@pytest.mark.parametrize("mode", MODES)
def test_equal_texts_make_an_equal_tokenizer(mode):
    assert make(mode).to_json() == make(mode).to_json()


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_its_texts(mode):
    tokenizer = make(mode)
    texts = ["", *LINES, *UNICODE]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch([]) == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="ab'’.<> \n\t\r\x1c\x85\u2028é", max_size=60), st.integers(1, 12))
@pytest.mark.parametrize("mode", MODES)
def test_a_long_text_can_be_cut_where_the_pieces_are(mode, text, size):
    tokenizer = _TRAINED[mode]
    parts = list(pieces(text, size))
    assert "".join(parts) == text
    whole = tokenizer.encode_batch([text])[0]
    assert [i for row in tokenizer.encode_batch(parts) for i in row] == whole


_TRAINED = {mode: make(mode, ["ab a b a'b <ab> \n\n\na  \t\n b é ab.\r\n"], 290) for mode in MODES}


# === Errors ===


@pytest.mark.parametrize("size", [None, 258])
def test_byte_pairs_need_room_for_the_bytes(size):
    with pytest.raises(ValueError, match="at least 259"):
        tokenizers.train_byte_pairs(LINES, size)


def test_an_unknown_mode_names_the_modes():
    with pytest.raises(ValueError, match="characters, byte_pairs, words, whitespace"):
        tokenizers.train("letters", LINES)


def test_a_lone_surrogate_is_an_error_and_not_a_character():
    with pytest.raises(ValueError, match="surrogate"):
        _BYTE_PAIRS.encode("a\ud800")
    with pytest.raises(TypeError, match="str, not int"):
        _BYTE_PAIRS.encode_batch(["a", 3])


@pytest.mark.parametrize("bad", [-1, 100_000])
def test_ids_outside_of_the_vocabulary_are_errors(bad):
    with pytest.raises(ValueError, match="from 0 to"):
        _BYTE_PAIRS.decode([5, bad])
    with pytest.raises(IndexError, match="outside of the vocabulary"):
        _BYTE_PAIRS.token(bad)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"model": 3}', b"[1]"])
def test_a_file_that_is_no_tokenizer_is_named(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: ") as caught:
        Tokenizer.load(path)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path):
    content = json.loads(make("words").to_json())
    content["model"]["vocab"] = {"<unk>": 0, "a": 1, "b": 2}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="not a tokenizer of the zoo"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_no_framework_is_imported():
    code = "import sys, zoo.tokenizers; print({'keras', 'tensorflow', 'jax'} & {*sys.modules})"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "set()"
