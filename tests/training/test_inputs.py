"""What a run reads of a user's own text: any script, any line ends, one line, few lines."""

import numpy as np
import pytest

from training import inputs, recipe
from zoo.tokenizers import EOS_ID, UNK_ID

# Letters and the marks that go with them, and emoji of several code points.
ONE_LINE = "Ze\u0301ro 👩‍👩‍👧 na\u0308h 🏳️‍🌈 " * 20
TEXTS = {
    "characters": [ONE_LINE, "吾輩は猫である。名前はまだ無い。\r\n" * 20],
    "words": ["吾輩 は 猫 で ある 。\r\nnai\u0308ve naïve 👍🏽\r\n" * 20, "word " * 30],
    "whitespace": ["\ufeff" + "the <unk> of N\n\n" * 30, ONE_LINE],
    "byte_pairs": ["𝔘𝔫𝔦 e\u0301 中\n" * 20, ONE_LINE],
}


def load(tmp_path, text, *options):
    (tmp_path / "my.txt").write_bytes(text.encode())
    arguments = ["--data", str(tmp_path / "my.txt"), "--batch-size", "2", "--window", "8", *options]
    options = recipe.parse(arguments).text
    return inputs.load(options), options


@pytest.mark.parametrize(
    ("mode", "text"), [(mode, text) for mode, texts in TEXTS.items() for text in texts]
)
@pytest.mark.parametrize("kind", ["stream", "lines"])
def test_every_token_of_any_text_is_a_target(tmp_path, mode, text, kind):
    if kind == "lines":  # unlike lines, or all of them would be in one part
        text = "".join(f"{i} {text.split()[i % len(text.split())]}\n" for i in range(30))
    size = ["--vocabulary-size", "270"] if mode == "byte_pairs" else []
    data, options = load(tmp_path, text, "--tokenizer", mode, "--kind", kind, *size)
    tokenizer = data.tokenizer
    planner = data.training(options, seed=0, carried=True)
    seen = [y[weight > 0] for _, y, weight in planner.one_pass()]
    counts = np.bincount(np.concatenate(seen), minlength=tokenizer.vocabulary_size)
    assert counts.sum() == planner.targets_per_pass
    assert counts[EOS_ID] >= 1
    assert (counts[UNK_ID] > 0) == ("<unk>" in text and mode == "whitespace")
    shown = "".join(data.corpus.train)
    assert not set(shown) & set("\ufeff\r")
    if mode in ("characters", "byte_pairs"):
        assert tokenizer.decode(tokenizer.encode(shown)) == shown
    for x, y, weight in data.held_out("valid", True, 2, 8).one_pass():
        assert x["token_ids"].shape == y.shape == weight.shape


@pytest.mark.parametrize("mode", TEXTS)
def test_perplexity_counts_every_end(tmp_path, mode):
    """By lines each has one; one long text has one, but in `whitespace` mode one a line too."""
    text = "".join(f"a b c {i}\n" for i in range(40))
    size = ["--vocabulary-size", "270"] if mode == "byte_pairs" else []
    for kind in ("stream", "lines"):
        data, _ = load(tmp_path, text, "--tokenizer", mode, "--kind", kind, *size)
        lines = sum(part.count("\n") for part in data.corpus.test) or len(data.corpus.test)
        targets = [y[w > 0] for _, y, w in data.held_out("test", True, 2, 8).one_pass()]
        ends = np.sum(np.concatenate(targets) == EOS_ID)
        assert ends == (1 if kind == "stream" and mode != "whitespace" else lines)
        assert lines in (3, 4)


def test_parts_of_ones_own(tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text(f"{part} one\n{part} two\n")
    files = [f"--{part}={tmp_path / part}.txt" for part in ("train", "valid", "test")]
    data = inputs.load(recipe.parse([*files, "--tokenizer", "words"]).text)
    assert data.tokenizer.vocabulary[3:] == ["train", "one", "two"]  # of the training part alone
    assert data.corpus.test == ["test one\ntest two\n"]
    assert data.characters("valid") == len("valid one\nvalid two\n")
