"""Data sets by name, and a user's own text: parts, duplicates, line ends, encodings, errors."""

import gzip
import io
import os
import random
import re
import zipfile
from pathlib import Path

import pytest

from training.data import corpora, splits
from training.data.corpora import DATASETS, describe, lines, list_corpora, load_corpus, load_files
from training.data.download import DataError, File, unpack
from training.data.splits import PARTS

NEEDED = {
    "fra-eng": "fra-eng.zip",
    "multi30k": "train.en.gz",
    "names": "names.txt",
    "tinyshakespeare": "input.txt",
    "verne": "the_mysterious_island.txt",
    "wikitext-2": "valid.txt",
}


def real(name, **options):
    """A data set that is not embedded, where its files are there."""
    if not (Path(os.environ.get("ZOO_DATA", "")) / name / NEEDED[name]).is_file():
        pytest.skip(f"needs the files of {name} in the folder that ZOO_DATA names")
    return load_corpus(name, **options)


def sizes(corpus):
    return {part: len(getattr(corpus, part)) for part in PARTS}


def characters(corpus):
    return {part: sum(map(len, getattr(corpus, part))) for part in PARTS}


# === Splits, by hand ===


def test_consecutive_cuts_move_to_the_next_boundary():
    text = "aa\nbb\ncc\ndd\n"
    cut = {"train": ["aa\nbb\n"], "valid": ["cc\n"], "test": ["dd\n"]}
    assert splits.consecutive([text], (0.4, 0.7), "\n") == cut
    # Right behind a boundary already.
    assert splits.consecutive([text], (0.5, 0.75), "\n") == cut
    exact = {"train": ["aa\nb"], "valid": ["b\ncc"], "test": ["\ndd\n"]}
    assert splits.consecutive([text], (0.4, 0.7)) == exact


def test_a_text_without_the_boundary_is_cut_all_the_same():
    assert splits.consecutive(["abcdefghij"], (0.8, 0.9), "\n") == {
        "train": ["abcdefgh"], "valid": ["i"], "test": ["j"],
    }  # fmt: skip


def test_shuffle_is_pythons_own():
    names = [f"name{i}" for i in range(10)]
    expected = list(names)
    random.seed(42)
    random.shuffle(expected)
    parts = splits.shuffle(names, (0.8, 0.9), seed=42)
    assert parts == {"train": expected[:8], "valid": expected[8:9], "test": expected[9:]}


def test_equal_lines_stay_together():
    documents = ["a", "b", "a", "c", "b", "d", "e", "a"]
    parts = splits.together(documents, (0.6, 0.8), seed=0)
    found = [document for part in PARTS for document in parts[part]]
    assert sorted(found) == sorted(documents)
    assert all(parts[part] for part in PARTS)
    assert len({(document, part) for part in PARTS for document in parts[part]}) == 5


# === The data sets ===


@pytest.mark.parametrize("name", list_corpora())
def test_a_data_set_says_what_it_is(name):
    about = describe(name)
    assert all(about[key] for key in ("title", "description", "licence", "attribution", "splits"))
    assert about["kind"] in ("stream", "lines", "pairs")
    assert about.get("embedded", False) != ("files" in about)
    for file in about.get("files", []):
        assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"])
        assert re.search(r"/[0-9a-f]{40}/", file["url"]), "a URL is pinned to a commit"


def test_names_are_split_as_in_the_lectures():
    corpus = real("names")
    assert sizes(corpus) == describe("names")["splits"]["reference"]["counts"]
    # The first names after the shuffle, and the positions of each part, as the lectures print them.
    assert corpus.train[:4] == ["yuheng", "diondre", "xavien", "jori"]
    positions = {part: n + sizes(corpus)[part] for part, n in characters(corpus).items()}
    assert positions == {"train": 182_625, "valid": 22_655, "test": 22_866}
    assert sum(positions.values()) == 228_146


def test_names_are_split_as_in_makemore():
    corpus = real("names", split="makemore")
    assert sizes(corpus) == describe("names")["splits"]["makemore"]["counts"]
    names = (Path(os.environ["ZOO_DATA"]) / "names" / "names.txt").read_text().split("\n")
    # torch.manual_seed(3407); torch.randperm(32033)[-1000:] begins and ends so.
    assert (corpus.test[0], corpus.test[-1]) == (names[25_859], names[29_400])
    assert sorted(corpus.train + corpus.valid + corpus.test) == sorted(names)


def test_numbers_of_makemore_are_torchs():
    torch = pytest.importorskip("torch", reason="needs torch, which has drawn the numbers")
    order = torch.randperm(32_033, generator=torch.Generator().manual_seed(3407)).tolist()
    for part, numbers in {"test": order[-1000:], "valid": order[-2000:-1000]}.items():
        content = (DATASETS / "names" / f"makemore_{part}.txt").read_text()
        assert [int(line) for line in content.split()] == numbers


def test_distinct_names_are_in_one_part_only():
    corpus = real("names", split="distinct")
    assert sizes(corpus) == describe("names")["splits"]["distinct"]["counts"]
    assert len({*corpus.train, *corpus.valid, *corpus.test}) == 29_494


def test_tinyshakespeare_is_split_as_in_nanogpt():
    corpus = real("tinyshakespeare")
    assert characters(corpus) == describe("tinyshakespeare")["splits"]["reference"]["counts"]
    assert len({*corpus.train[0], *corpus.valid[0]}) == 65


def test_verne_is_the_novels_and_nothing_around_them():
    corpus = real("verne")
    assert sizes(corpus) == {"train": 2, "valid": 2, "test": 2}
    whole = [
        train + valid + test for train, valid, test in zip(corpus.train, corpus.valid, corpus.test)
    ]
    assert sum(map(len, whole)) == describe("verne")["counts"]["characters"]
    assert not any("Gutenberg" in text or "***" in text for text in whole)
    assert whole[0].startswith("THE MYSTERIOUS ISLAND\n")
    assert whole[1].endswith("make the tour around the world?\n")
    for part in (corpus.train, corpus.valid):
        assert all(text.endswith("\n\n") for text in part)
    shares = [n / sum(characters(corpus).values()) for n in characters(corpus).values()]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.002)


def test_wikitext_is_its_three_files():
    corpus = real("wikitext-2")
    counts = {part: len(lines(getattr(corpus, part)[0])) for part in PARTS}
    assert counts == {"train": 36_718, "valid": 3_760, "test": 4_358}


def test_python_reference_has_no_paragraph_in_two_parts():
    corpus = load_corpus("python_reference")
    paragraphs = {
        part: {p.strip() for text in getattr(corpus, part) for p in text.split("\n\n") if p.strip()}
        for part in PARTS
    }
    assert all(len(found) > 50 for found in paragraphs.values())
    assert not paragraphs["train"] & paragraphs["valid"]
    assert not paragraphs["train"] & paragraphs["test"]
    assert not paragraphs["valid"] & paragraphs["test"]


def test_a_hash_is_of_the_texts_and_their_parts():
    corpus = load_corpus("python_reference")
    assert corpus.hash == load_corpus("python_reference").hash
    assert re.fullmatch(r"[0-9a-f]{64}", corpus.hash)
    moved = load_corpus("grammar_en_fr", size=10)
    before = moved.hash
    moved.valid.append(moved.test.pop())
    assert moved.hash != before


# === Pairs ===


@pytest.mark.parametrize("split", describe("multi30k")["splits"])
def test_multi30k_is_its_files_side_by_side(split):
    corpus = real("multi30k", split=split)
    assert sizes(corpus) == describe("multi30k")["splits"][split]["counts"]
    first = {
        "de": "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
        "en": "Two young, White males are outside near many bushes.",
        "fr": "Deux jeunes hommes blancs sont dehors près de buissons.",
    }
    source, target = split.split("-")[:2]
    assert corpus.train[0] == (first[source], first[target])


def test_tatoeba_is_split_by_english_sentence():
    corpus, counts = real("fra-eng"), describe("fra-eng")["counts"]
    assert sum(sizes(corpus).values()) == counts["lines"]
    sources = [{source for source, _ in getattr(corpus, part)} for part in PARTS]
    assert sum(map(len, sources)) == len(set.union(*sources)) == counts["distinct_sources"]
    shares = [len(part) / counts["distinct_sources"] for part in sources]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=1e-4)
    assert corpus.train[0] == ("Go.", "Va !")


def test_only_the_files_of_a_split_are_fetched(monkeypatch):
    asked = []

    def fetch(dataset, file):
        asked.append(file.name)
        return gzip.compress(b"a\n")

    monkeypatch.setattr(corpora, "fetch", fetch)
    corpus = load_corpus("multi30k", split="en-fr")
    assert corpus.train == corpus.test == [("a", "a")]
    assert sorted(asked) == sorted(
        f"{part}.{language}.gz"
        for part in ("train", "val", "test_2016_flickr")
        for language in ("en", "fr")
    )


def test_the_member_of_a_zip_is_read():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__MACOSX/._a.txt", "no")
        archive.writestr("a/a.txt", "yes")
    file = File("a.zip", "", 0, "", member="a/a.txt")
    assert unpack(content.getvalue(), file) == b"yes"
    assert unpack(b"yes", File("a.txt", "", 0, "")) == b"yes"


def test_pairs_of_a_user_are_two_files_or_one_with_tabs(tmp_path):
    pairs = [(f"source {i % 60}", f"target {i}") for i in range(100)]
    (tmp_path / "a.en").write_text("".join(f"{source}\n" for source, _ in pairs))
    (tmp_path / "a.fr").write_text("".join(f"{target}\n" for _, target in pairs))
    # A third column, as Tatoeba's collections have it, and blank lines are left out.
    (tmp_path / "a.tsv").write_text("".join(f"{s}\t{t}\tCC BY\n\n" for s, t in pairs))
    two = load_corpus(tmp_path / "a.en", target=tmp_path / "a.fr")
    one = load_corpus(tmp_path / "a.tsv", kind="pairs")
    assert two.kind == one.kind == "pairs"
    assert two.hash == one.hash
    assert sorted(two.train + two.valid + two.test) == sorted(pairs)
    sources = [{source for source, _ in getattr(two, part)} for part in PARTS]
    assert [len(part) for part in sources] == [48, 6, 6]
    assert len(set.union(*sources)) == 60


def test_pairs_in_parts(tmp_path):
    (tmp_path / "train.en").write_text("a\nb\n\nd\n")
    (tmp_path / "train.fr").write_text("A\n\n\nD\n")
    (tmp_path / "valid.tsv").write_text("e\tE\n")
    train = [tmp_path / "train.en", tmp_path / "train.fr"]
    corpus = load_files(train, [tmp_path / "valid.tsv"], kind="pairs")
    assert corpus.train == [("a", "A"), ("d", "D")]  # what has no translation is left out
    assert (corpus.valid, corpus.test) == ([("e", "E")], [])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.en": "a\nb\n", "a.fr": "A\n"}, "have 2 and 1 lines"),
        ({"a.tsv": "a\tA\nb B\n"}, "a.tsv, line 2: no tab"),
        ({"a": "a\tA\n", "b": "b\tB\n", "c": "c\tC\n"}, "in one file or in two, not in 3"),
    ],
)
def test_pairs_that_are_none(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        load_files([tmp_path / name for name in files], kind="pairs")
    assert "\n" not in str(caught.value)


# === A user's own text ===


def test_a_file_is_cut_at_line_ends(tmp_path):
    text = "".join(f"line {i}\n" for i in range(100))
    path = tmp_path / "my.txt"
    path.write_text(text)
    corpus = load_corpus(path)
    assert corpus.train[0] + corpus.valid[0] + corpus.test[0] == text
    assert all(getattr(corpus, part)[0].endswith("\n") for part in PARTS)
    assert corpus.kind == "stream"
    assert load_corpus(path, fractions=(1, 0, 0)).train == [text]
    assert sizes(load_corpus(path, fractions=(0.9, 0.1, 0))) == {"train": 1, "valid": 1, "test": 0}
    # Packed, it is the same.
    with gzip.open(tmp_path / "my.txt.gz", "wt", newline="") as file:
        file.write(text)
    assert load_corpus(tmp_path / "my.txt.gz").train == corpus.train
    assert load_corpus(tmp_path / "my.txt.gz").hash == corpus.hash


def test_a_single_line_is_cut_all_the_same(tmp_path):
    (tmp_path / "my.txt").write_text("abcdefghi\n")
    corpus = load_corpus(tmp_path / "my.txt")
    assert [corpus.train, corpus.valid, corpus.test] == [["abcdefgh"], ["i"], ["\n"]]


def test_lines_are_documents_and_equal_ones_are_in_one_part(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("\n".join(["", "  ", *(f"name{i % 40}" for i in range(100))]))
    corpus = load_corpus(path, kind="lines", fractions=(0.5, 0.25, 0.25))
    assert sum(sizes(corpus).values()) == 100
    found = [set(getattr(corpus, part)) for part in PARTS]
    assert [len(part) for part in found] == [20, 10, 10]
    assert len(set.union(*found)) == 40
    other = load_corpus(path, kind="lines", fractions=(0.5, 0.25, 0.25), seed=1)
    assert set(other.test) != found[2]


def test_a_folder_is_its_files_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "z.txt").write_text("third")
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    (tmp_path / ".git" / "x").write_bytes(b"\xff")
    assert load_corpus(tmp_path, fractions=(1, 0, 0)).train == ["first", "third", "second"]


def test_a_file_named_like_a_data_set(tmp_path, monkeypatch):
    (tmp_path / "names").write_text("my own\n")
    monkeypatch.chdir(tmp_path)
    assert load_corpus("./names", fractions=(1, 0, 0)).train == ["my own\n"]
    assert load_corpus(Path("names"), fractions=(1, 0, 0)).train == ["my own\n"]


def test_files_in_parts(tmp_path):
    for part in PARTS:
        (tmp_path / f"{part}.txt").write_text(f"{part} 1\n{part} 2\n")
    paths = [[tmp_path / f"{part}.txt"] for part in PARTS]
    corpus = load_files(*paths)
    assert (corpus.train, corpus.test) == (["train 1\ntrain 2\n"], ["test 1\ntest 2\n"])
    assert load_files(*paths, kind="lines").valid == ["valid 1", "valid 2"]
    assert load_files(paths[0]).valid == []


def test_byte_order_mark_and_line_ends_of_windows(tmp_path):
    path = tmp_path / "my.txt"
    path.write_bytes("\ufeffone\r\ntwo é\r\n".encode())
    assert load_corpus(path, fractions=(1, 0, 0)).train == ["one\ntwo é\n"]
    assert load_corpus(path, kind="lines", fractions=(1, 0, 0)).train == ["one", "two é"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is no text in"),
        (b" \n\r\n", "there is no text in"),
        (b"abc\xe9def", "is not UTF-8: byte 0xe9 at offset 3; convert it"),
        (b"\xef\xbb\xbfabc\xc3", "byte 0xc3 at offset 6"),
        ("text".encode("utf-16"), "byte 0xff at offset 0"),
        ("text".encode("utf-16-le"), "it has NUL bytes, as UTF-16 and programs have"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, words):
    path = tmp_path / "my.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_corpus(path)
    assert words in str(caught.value)
    assert "my.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_an_empty_archive(tmp_path):
    with pytest.raises(DataError, match="there is no text in"):
        load_corpus(tmp_path)
    (tmp_path / "empty.gz").write_bytes(b"")
    with pytest.raises(DataError, match="there is no text in"):
        load_corpus(tmp_path / "empty.gz")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "nothing_there"}, "no data named nothing_there: it is neither a file"),
        (
            {"data": "names", "split": "best"},
            "no split 'best'; it has reference, makemore, distinct",
        ),
        ({"data": "names", "kind": "lines"}, "leave out kind=lines"),
        ({"data": "names", "size": 5}, "leave out size=5"),
        ({"size": 5}, "has the size it has"),
        ({"data": "fra-eng", "target": "a.fr"}, "leave out target=a.fr"),
        ({"target": "a.fr", "kind": "lines"}, "of the kind pairs, not lines"),
        ({"split": "reference"}, "a split can be named for fra-eng"),
        ({"fractions": (0.5, 0.6, 0.1)}, "three fractions that sum to 1"),
        ({"fractions": (1.2, -0.1, -0.1)}, "three fractions that sum to 1"),
        ({"kind": "pairs"}, "line 1: no tab between"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, words):
    (tmp_path / "my.txt").write_text("text\n")
    with pytest.raises(DataError) as caught:
        load_corpus(**{"data": tmp_path / "my.txt", **options})
    assert words in str(caught.value)
