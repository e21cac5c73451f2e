"""The programs on trained models as one runs them, on small models with any weights."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import tomli_w
from keras import ops

import zoo
from training import (
    attention,
    command_line,
    compare,
    evaluate,
    generate,
    results,
    translate,
    translation,
)
from training.recipe import UserError
from zoo import presets, tokenizers
from zoo.backbone import Backbone, EncoderDecoderBackbone
from zoo.decoding import Options
from zoo.models.lstm import LSTMLanguageModel
from zoo.models.sutskever import SutskeverEncoderDecoder
from zoo.models.vaswani import VaswaniEncoderDecoder
from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer, Seq2SeqLMPreprocessor
from zoo.tasks import CausalLM, Seq2SeqLM

PAIRS = [("I love you.", "Je vous aime."), ("I see a cat.", "Je vois un chat."), ("No.", "Non.")]


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """The directory of a translator."""
    source, target = (tokenizers.train_words([pair[side] for pair in PAIRS]) for side in (0, 1))
    sizes = target.vocabulary_size, source.vocabulary_size
    network = SutskeverEncoderDecoder(*sizes, units=8, num_layers=1)
    preprocessor = Seq2SeqLMPreprocessor(
        PresetTokenizer(target), source_tokenizer=PresetTokenizer(source)
    )
    directory = tmp_path_factory.mktemp("translator") / "preset"
    presets.save(Seq2SeqLM(EncoderDecoderBackbone(network), preprocessor), directory)
    return str(directory)


@pytest.fixture(scope="module")
def looking(tmp_path_factory):
    """The directory of a translator with attention, and one vocabulary for both sides."""
    tokenizer = tokenizers.train("byte_pairs", [text for pair in PAIRS for text in pair], 280)
    options = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8}
    network = VaswaniEncoderDecoder(tokenizer.vocabulary_size, **options)
    preprocessor = Seq2SeqLMPreprocessor(PresetTokenizer(tokenizer))
    directory = tmp_path_factory.mktemp("looking") / "preset"
    presets.save(Seq2SeqLM(EncoderDecoderBackbone(network), preprocessor), directory)
    return str(directory)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """The directory of a language model."""
    tokenizer = tokenizers.train_characters(["abc"])
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=8, num_layers=1)
    directory = tmp_path_factory.mktemp("writer") / "preset"
    preprocessor = CausalLMPreprocessor(PresetTokenizer(tokenizer))
    presets.save(CausalLM(Backbone(network), preprocessor), directory)
    return str(directory)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a program with arguments and standard input; gives what it writes."""

    def run(program, *arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        command_line.run(program.main, program.Arguments)
        return capsys.readouterr().out

    return run


def test_texts_a_file_and_standard_input_give_the_same_lines(run, translator, tmp_path):
    texts = [source for source, _ in PAIRS]
    given = run(translate, "--preset", translator, *texts)
    assert len(given.splitlines()) == 3
    lines = "".join(f"{text}\n" for text in texts)
    assert run(translate, "--preset", translator, stdin=lines) == given
    assert run(translate, "--preset", translator, "--file", "-", stdin=lines) == given
    (tmp_path / "texts").write_text(lines)
    assert run(translate, "--preset", translator, "--file", str(tmp_path / "texts")) == given
    one = run(translate, "--preset", translator, "--batch-size", "1", stdin=lines)
    assert one == given
    # Greedy, as KerasHub's own.
    model = zoo.load(translator)
    model.compile(sampler="greedy")
    assert given.splitlines()[0].startswith(model.generate(texts[0], max_length=8))


def test_the_attention_of_a_translation_is_drawn(run, looking, translator, tmp_path):
    picture = tmp_path / "attention.png"
    options = ["--max-tokens", "5", "--attention", str(picture)]
    given = run(translate, "--preset", looking, "I love you.", *options)
    assert given == run(translate, "--preset", looking, "I love you.", *options[:2])
    assert picture.read_bytes().startswith(b"\x89PNG")
    for preset, texts, said in (
        (looking, ["a", "b"], "give it one text"),
        (translator, ["No."], "has no attention"),
    ):
        with pytest.raises(SystemExit, match=said):
            run(translate, "--preset", preset, *texts, *options)


def test_attention_between_words_is_that_of_their_tokens(looking):
    model = zoo.load(looking)
    options = Options(max_tokens=5)
    (result,) = translation.translate(model, ["I love you."], options, attention=True)
    matrix, target, source = attention.between_words(model, "I love you.", result)
    assert source == ["I", "love", "you", ".", "<eos>"]
    assert "".join(target) == model.tokenizer.decode(result.token_ids, False).replace(" ", "")
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    # The mean over layers and heads of each token, by hand; the last word may have several.
    ids = [*model.source_tokenizer.encode("I love you."), 1]
    weights = model.backbone.attention(
        {
            "encoder_token_ids": np.array([ids]),
            "token_ids": np.array([[1, *result.token_ids[:-1]]]),
        }
    )
    layers = [ops.convert_to_numpy(weights[f"layer_{i}/cross"])[0] for i in range(2)]
    tokens = np.mean(np.concatenate(layers), axis=0)
    starts, _ = attention.words(model.source_tokenizer, ids)
    rows, _ = attention.words(model.tokenizer, result.token_ids)
    ends = [*rows[1:], len(tokens)]
    for i, (start, end) in enumerate(zip(rows, ends)):
        for j, (left, right) in enumerate(zip(starts, [*starts[1:], len(ids)])):
            expected = tokens[start:end, left:right].sum() / (end - start)
            assert matrix[i, j] == pytest.approx(expected, abs=1e-5)


def test_words_of_byte_pairs():
    texts = ["les petites maisons", "l'été"]
    tokenizer = tokenizers.train("byte_pairs", texts, 270)
    ids = [*tokenizer.encode("Les petites maisons, l'été."), 1]
    starts, found = attention.words(tokenizer, ids)
    assert found == ["Les", "petites", "maisons", ",", "l", "'", "été", ".", "<eos>"]
    assert len(ids) > len(starts)


def test_the_best_of_a_search_are_listed(run, translator):
    texts = ["I love you.", "No."]
    options = ["--preset", translator, *texts, "--beam", "3"]
    best = run(translate, *options).splitlines()
    rows = [line.split("\t") for line in run(translate, *options, "--n-best", "2").splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert [row[2] for row in rows[::2]] == best
    assert all(float(first[1]) >= float(second[1]) for first, second in zip(rows[::2], rows[1::2]))


def test_a_blank_line_stays_one(run, translator):
    given = run(translate, "--preset", translator, "--max-tokens", "3", stdin="No.\n\n \nNo.\n")
    lines = given.split("\n")
    assert (lines[1:3], lines[4:]) == (["", ""], [""])
    assert lines[0] == lines[3]
    assert run(translate, "--preset", translator, stdin="") == ""


def test_texts_of_a_language_model_have_seeds_of_their_own(run, writer, tmp_path):
    options = ["--preset", writer, "--max-tokens", "9"]
    both = run(generate, *options, "a", "b", "--number", "2", "--seed", "3").splitlines()
    assert [text[0] for text in both] == ["a", "a", "b", "b"]
    assert run(generate, *options, "b", "--seed", "5").splitlines() == both[2:3]
    assert run(generate, *options, "b", "--seed", "6").splitlines() == both[3:]
    greedy = run(generate, *options, "--temperature", "0", "--number", "2").splitlines()
    assert len(greedy) == 2
    assert len(set(greedy)) == 1


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        (translate, ["--preset", "WRITER", "a"], "does not translate: use training/generate.py"),
        (generate, ["--preset", "TRANSLATOR"], "translates: use training/translate.py"),
        (translate, ["--preset", "nothing", "a"], "no preset 'nothing'"),
        (translate, ["--preset", "WRITER", "--file", "nowhere"], "cannot read nowhere"),
        (translate, ["--preset", "WRITER", "--file", "x", "a"], "texts or a --file, not both"),
        (translate, ["--preset", "TRANSLATOR", "--batch-size", "0", "a"], "--batch-size must be"),
    ],
)
def test_a_mistake_is_one_line(run, writer, translator, program, arguments, said):
    names = {"WRITER": writer, "TRANSLATOR": translator}
    with pytest.raises(SystemExit) as end:
        run(program, *[names.get(word, word) for word in arguments])
    assert said in end.value.code
    assert end.value.code.startswith("error: ")
    assert "\n" not in end.value.code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "-1"], "temperature must be a finite number from 0, not -1.0"),
        (["--top-kk", "1"], "--top-k"),
        ([], "--preset"),
    ],
)
def test_a_wrong_option_is_explained(run, capsys, arguments, said):
    with pytest.raises(SystemExit) as end:
        run(translate, *(["--preset", "x", *arguments] if arguments else []))
    assert end.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_help_shows_what_a_decoder_can_do(run, capsys):
    for program in (translate, generate):
        with pytest.raises(SystemExit):
            run(program, "--help")
        said = capsys.readouterr().out
        assert "python training/" in said
        assert all(name in said for name in ("--preset", "--file", "--temperature", "--top-k"))


def test_evaluation_of_a_translator(monkeypatch, capsys, translator, tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS))
    data = ["--data", str(tmp_path / "pairs.tsv"), "--kind", "pairs"]
    data += ["--fractions", "1", "0", "0"]  # which leaves the train part to be scored
    files = ["--plot", str(tmp_path / "bleu.png"), "--output", str(tmp_path / "out.txt")]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", translator, *data, *files, "--beam-size", "2"])
    evaluate.main()
    said = capsys.readouterr().out
    for words in (
        "on the train part",
        "greedy  ",
        "beam_2",
        "case:mixed|eff:no|tok:13a",
        "case:lc|eff:no|tok:13a",
    ):
        assert words in said
    assert "1 to   5 words,     3: BLEU" in said
    nats = float(next(line for line in said.splitlines() if line.startswith("nats")).split()[1])
    assert nats == pytest.approx(np.log(11), rel=0.3)  # hardly more than a guess
    assert (tmp_path / "bleu.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 3
    sys.argv.append("--json")
    evaluate.main()
    scores = json.loads(capsys.readouterr().out)
    assert scores["nats"] == pytest.approx(nats, abs=1e-4)
    assert {"bleu", "beam_2_bleu", "beam_2_chrf"} <= set(scores)


def test_what_cannot_be_evaluated_is_said_in_one_line(monkeypatch, writer):
    for arguments, said in (
        (["--part", "valid", "x"], "the model comes first, before --part"),
        ([writer, "--data", "a", "--bundle", "b", "--dynamic", "0.1"], "leave out --bundle"),
    ):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
        with pytest.raises(UserError, match=said):
            evaluate.main()


# === compare.py ===


def finished(directory, translates=False, **values):
    """A run directory as far as compare.py reads one."""
    row = dict.fromkeys(results.columns(translates), "1")
    row |= {"run": directory.name, "data": "mine", "split": "a", "command": "run <it>"}
    directory.mkdir(parents=True, exist_ok=True)
    results.put(directory / "results.csv", row | values)
    losses = [{"val_nats": 3 - i, "val_bits_per_character": 2 - i / 2} for i in (1, 2)]
    history = [{"step": step, **loss} for step, loss in enumerate(losses, 1)]
    results.write(directory / "history.csv", history)


def test_models_of_a_split_are_in_a_table_the_best_last(run, tmp_path):
    for name, nats, of in [("x", 1.0, {}), ("y", 3.0, {}), ("z", 0.5, {"split": "b"})]:
        finished(tmp_path / "runs" / name, test_nats=nats, **of)
    asked = ["--dataset", "mine", "--runs", str(tmp_path / "runs"), "--to", str(tmp_path / "p")]
    *table, written = run(compare, *asked, "--split", "a").splitlines()
    assert [line.split(" | ")[0] for line in table] == [
        "| run",
        "|---|---|---|---|---|---|---|",
        "| y",
        "| x",
    ]
    assert written == f"{tmp_path}/p.png, {tmp_path}/p.html"
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "run &lt;it&gt;" in page
    assert "<svg" in page
    assert not any(word in page for word in ("<script", "<link", "<img", "@import", "<?xml"))
    assert "| z" in run(compare, *asked)


def test_a_data_set_without_a_test_part_is_scored_on_validation(run, tmp_path):
    finished(tmp_path / "x", test_nats="", valid_nats=1.25, train_nats="")
    asked = ["--dataset", "mine", "--runs", str(tmp_path), "--to", str(tmp_path / "p")]
    assert run(compare, *asked).splitlines()[2].split(" | ")[3] == "1.2500 (valid)"


def test_tokens_that_differ_are_compared_by_characters(run, tmp_path):
    for name, bits, size in [("x", 1.5, 10), ("y", 1.25, 20)]:
        finished(tmp_path / name, test_bits_per_character=bits, vocabulary_size=size)
    asked = ["--dataset", "mine", "--runs", str(tmp_path), "--to", str(tmp_path / "p")]
    rows = run(compare, *asked).splitlines()[2:-1]
    assert [row.split(" | ")[5] for row in rows] == ["1.5000", "1.2500"]
    finished(tmp_path / "z", tokenizer="words")
    assert "| z |" in run(compare, *asked)
    (row,) = run(compare, *asked, "--tokenizer", "words").splitlines()[2:-1]
    assert row.startswith("| z |")


def test_translators_are_compared_by_the_length_of_the_source(run, translator, tmp_path):
    name = tmp_path / "runs" / "mine"
    finished(name, translates=True, test_bleu=12.5)
    shutil.copytree(translator, name / "preset")
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), "utf-8")
    data = {"data": str(tmp_path / "pairs.tsv"), "kind": "pairs", "fractions": [0.3, 0.3, 0.4]}
    (name / "recipe.toml").write_text(tomli_w.dumps(data), encoding="utf-8")
    asked = ["--dataset", "mine", "--runs", str(name.parent), "--to", str(tmp_path / "p")]
    *_, row, lengths, _ = run(compare, *asked).splitlines()
    assert row.split(" | ")[3] == "12.50"
    assert lengths.startswith("mine: BLEU by words of the source: 1 to 5: ")


def test_a_comparison_of_nothing_is_a_mistake(run, tmp_path):
    with pytest.raises(SystemExit, match="no results of mine, split b: train on it"):
        run(compare, "--dataset", "mine", "--runs", str(tmp_path), "--split", "b")
    with pytest.raises(SystemExit, match=r"no results of nmaes \(perhaps you meant names\)"):
        run(compare, "--dataset", "nmaes", "--runs", str(tmp_path))


def test_a_ladder_is_drawn_from_what_was_published(run, tmp_path, monkeypatch):
    """Without the runs: a preset has its history, and the scores of each length."""
    monkeypatch.setattr(results, "DIRECTORY", tmp_path / "results")
    monkeypatch.setattr(presets, "DIRECTORY", tmp_path / "presets")
    ladder = {"data": "multi30k", "split": "de-en", "test_beam_5_bleu_lowercase": ""}
    for name, cased, lowercase in [("cho", 21.0, 22.0), ("sutskever", 22.0, 21.0)]:
        folder = tmp_path / "presets" / name
        finished(folder, True, **ladder, test_bleu=cased, test_bleu_lowercase=lowercase)
        band = {"first": 1, "last": 5, "count": 3, "bleu": cased}
        (folder / "about.json").write_text(json.dumps({"by_length": [band]}), encoding="utf-8")
        (row,) = results.read(folder / "results.csv")
        results.put(results.DIRECTORY / "multi30k.csv", row | {"test_beam_5_bleu": "30"})
    finished(tmp_path / "presets" / "other", True, data="multi30k", split="en-de")
    asked = ["--dataset", "multi30k_de_en", "--runs", str(tmp_path / "runs")]
    header, _, worst, best, *lengths, _ = run(
        compare, *asked, "--to", str(tmp_path / "p")
    ).splitlines()
    # As the published scores of this direction are: lower-cased.
    assert (worst.split(" | ")[0], best.split(" | ")[0]) == ("| sutskever", "| cho")
    assert "test bleu | test bleu lowercase | test beam 5 bleu | test chrf" in header
    assert best.split(" | ")[3:6] == ["21.00", "22.00", "30.00"]
    assert lengths[0] == "sutskever: lower-cased BLEU by words of the source: 1 to 5: 22.0"
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<svg" in page


def test_a_training_of_ones_own_stands_in_place_of_the_noted_one(run, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "DIRECTORY", tmp_path / "results")
    finished(tmp_path / "runs" / "x", test_nats=2.0, seconds=5)
    (row,) = results.read(tmp_path / "runs" / "x" / "results.csv")
    asked = ["--dataset", "mine", "--runs", str(tmp_path / "runs"), "--to", str(tmp_path / "p")]
    for seconds, shown in (("5", "1.0000"), ("6", "2.0000")):
        results.put(results.DIRECTORY / "mine.csv", row | {"test_nats": 1.0, "seconds": seconds})
        assert run(compare, *asked).splitlines()[2].split(" | ")[3] == shown
