"""Exported models: the same function in ONNX Runtime and in TensorFlow as in Keras."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from keras import ops

from export.exporter import ExportError, export, export_all
from zoo import contract
from zoo.backbone import Backbone
from zoo.contract import Decodable
from zoo.decoding import InvalidOption, Options, Request, generate
from zoo.models.lstm import LSTMLanguageModel
from zoo.tasks import CausalLM

pytestmark = pytest.mark.slow
MODELS = ["lstm", "transformer", "sutskever"]
OPTIONS = {
    "greedy": Options(max_tokens=12),
    "sampled": Options(temperature=1.2, seed=5, max_tokens=12),
    "filtered": Options(temperature=0.9, top_k=8, top_p=0.95, seed=6, max_tokens=12, stop=("t ",)),
}


def requests(bundle, options):
    if bundle.source_tokenizer:
        return [
            Request.of(bundle.tokenizer, prompt, source, options, bundle.source_tokenizer)
            for prompt, source in (("", "the cat"), ("", "dog"), ("un", "a a cat the"))
        ]
    return [Request.of(bundle.tokenizer, prompt, options=options) for prompt in ("", "the c", "a")]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", OPTIONS)
def test_texts_from_the_bundle_are_those_of_keras(exported, name, options):
    bundle = exported[name].bundle
    asked = requests(bundle, OPTIONS[options])
    ours = generate(bundle, bundle.tokenizer, asked)
    theirs = generate(exported[name].task, bundle.tokenizer, asked)
    for got, expected in zip(ours, theirs, strict=True):
        assert got.text == expected.text
        assert got.token_ids == expected.token_ids
        assert got.finish_reason == expected.finish_reason
        # Float32 sums in another order, over some thirty steps.
        np.testing.assert_allclose(got.log_probs, expected.log_probs, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_candidates_and_rows_are_those_of_numpy(exported, name):
    bundle, sources = exported[name].bundle, np.array([[4, 1, 0], [5, 3, 1]], "int32")
    state = bundle.start(sources if bundle.source_tokenizer else 2)
    token_ids, rows = np.array([[1, 4], [1, 0], [1, 3]], "int32"), [1, 0, 1]
    (ids, log_probs), new = bundle.step(token_ids, state, rows, want=5)
    expected_state = contract.take(bundle.state_spec, state, rows)
    logits, expected_state = bundle.step(token_ids, expected_state)
    expected_ids, expected = Decodable.best(bundle, logits[range(3), [1, 0, 1]], 5)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)
    for leaf, array in expected_state.items():
        np.testing.assert_array_equal(new[leaf], array)


def test_attention_is_that_of_keras(exported):
    model = exported["transformer"]
    token_ids = np.array([[1, 4, 6, 3], [1, 5, 0, 0]], "int32")
    got = model.bundle.attention(token_ids, model.bundle.start(2))
    expected = model.task.attention(token_ids, model.task.start(2))
    assert got.keys() == expected.keys()
    for name, weights in expected.items():
        np.testing.assert_allclose(got[name][0], weights[0], atol=1e-5)
        np.testing.assert_allclose(got[name][1, :, :2], weights[1, :, :2], atol=1e-5)
    assert exported["lstm"].bundle.attention(token_ids, exported["lstm"].bundle.start(2)) == {}


def test_what_was_learned_comes_out(exported):
    bundle = exported["sutskever"].bundle
    asked = [
        Request.of(bundle.tokenizer, "", source, source_tokenizer=bundle.source_tokenizer)
        for source in ("the cat", "a dog")
    ]
    texts = [result.text for result in generate(bundle, bundle.tokenizer, asked)]
    assert texts == ["le chat", "un chien"]


@pytest.mark.parametrize("name", MODELS)
def test_names_in_the_graphs(exported, name):
    bundle, directory = exported[name].bundle, exported[name].directory
    assert bundle.state_spec == exported[name].task.state_spec
    # A graph has no use for a cursor: its caches grow.
    leaves = {leaf.name for leaf in bundle.state_spec if leaf.kind != "cursor"}
    decode = onnx.load(directory / "decode.onnx").graph
    assert {value.name for value in decode.input} == {"token_ids"} | leaves
    assert {value.name for value in decode.output} == {"logits"} | {f"{n}_out" for n in leaves}
    if bundle.source_tokenizer:
        encode = onnx.load(directory / "encode.onnx").graph
        assert [value.name for value in encode.input] == ["source_ids"]
        assert {value.name for value in encode.output} == {f"{leaf}_out" for leaf in leaves}


@pytest.mark.parametrize("name", MODELS)
def test_the_saved_model_has_every_endpoint(exported, name):
    """Its values were compared when it was exported; here is the one endpoint that is the model."""
    import tensorflow as tf

    model = exported[name]
    loaded = tf.saved_model.load(str(model.directory / "saved_model"))
    encodes = {"encode"} if model.bundle.source_tokenizer else set()
    assert {"decode", "serve"} | encodes <= set(loaded.signatures)
    token_ids = np.array([[1, 4, 5, 6], [1, 6, 3, 4]], "int32")
    inputs = dict.fromkeys(model.task.backbone.input_names, token_ids)
    got = loaded.signatures["serve"](**{n: tf.constant(x) for n, x in inputs.items()})["logits"]
    expected = ops.convert_to_numpy(model.task(inputs))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_manifest_lists_what_is_there(exported, name):
    directory = exported[name].directory
    manifest = json.loads((directory / "manifest.json").read_text())
    files = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert manifest["special_ids"] == {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    leaves = {leaf["name"] for leaf in manifest["state"] if leaf["kind"] != "cursor"}
    for differences in (manifest["verification"][name] for name in ("onnx", "saved_model")):
        assert set(differences) == {"logits"} | leaves
        assert max(differences.values()) <= manifest["verification"]["tolerance"]


def test_a_bound_on_positions_is_one_on_texts(exported):
    bundle = exported["transformer"].bundle
    assert (bundle.max_length, exported["lstm"].bundle.max_length) == (48, None)
    asked = Request.of(bundle.tokenizer, "the ", options=Options(max_tokens=45))
    with pytest.raises(InvalidOption, match="max_tokens must be at most 44 after a prompt of 5"):
        generate(bundle, bundle.tokenizer, [asked])


def test_nothing_but_bundles_is_left(exported):
    assert {path.name for path in exported["lstm"].directory.parent.iterdir()} == set(MODELS)


# === What fails leaves nothing ===


def test_a_directory_with_something_in_it_is_left_alone(exported, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    with pytest.raises(ExportError, match=r"full is there and not empty"):
        export_all({tmp_path / "new": "nowhere", tmp_path / "full": exported["lstm"].task})
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "full",
        "full/thesis.tex",
    ]


def test_a_model_that_cannot_be_exported_leaves_nothing(tmp_path):
    without_tokenizer = CausalLM(Backbone(LSTMLanguageModel(9, units=4, num_layers=1)))
    with pytest.raises(ExportError, match="the preset has no tokenizer"):
        export(without_tokenizer, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    program = Path(__file__).parents[2] / "export" / "run.py"
    command = [sys.executable, str(program), "lstm_nmaes", "--to", str(tmp_path / "bundle")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: no preset 'lstm_nmaes'")
    assert len(ran.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
