"""Presets: saved all at once, loaded exactly, and nothing in them is run."""

import json
import pathlib
import pickle  # noqa: TID251 - to be refused

import huggingface_hub
import kagglehub
import keras_hub
import numpy as np
import pytest
from keras import ops

import zoo
from zoo import presets, tokenizers
from zoo.backbone import Backbone
from zoo.models.lstm import LSTMLanguageModel
from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer
from zoo.tasks import CausalLM

IDS = {"token_ids": np.array([[1, 4, 5]], "int32")}


@pytest.fixture(scope="module")
def task():
    tokenizer = tokenizers.train_characters(["hello"])
    network = LSTMLanguageModel(tokenizer.vocabulary_size, units=8)
    preprocessor = CausalLMPreprocessor(PresetTokenizer(tokenizer), sequence_length=8)
    return CausalLM(Backbone(network), preprocessor)


def _logits(model):
    return ops.convert_to_numpy(model(IDS))


def test_load_and_keras_hub_give_the_same_model(task, tmp_path):
    presets.save(task, tmp_path / "x")
    for loaded in (
        zoo.load(tmp_path / "x"),
        keras_hub.models.CausalLM.from_preset(str(tmp_path / "x")),
    ):
        np.testing.assert_array_equal(_logits(loaded), _logits(task))
        assert loaded.generate("he", max_length=6).startswith("he")


def test_what_was_loaded_can_be_saved_again(task, tmp_path):
    presets.save(task, tmp_path / "x")
    presets.save(zoo.load(tmp_path / "x"), tmp_path / "y")
    np.testing.assert_array_equal(_logits(zoo.load(tmp_path / "y")), _logits(task))
    assert zoo.load(tmp_path / "y", dtype="bfloat16").backbone.network.compute_dtype == "bfloat16"


def test_half_precision_on_disk_is_loaded_by_unchanged_keras_hub(task, tmp_path):
    presets.save(task, tmp_path / "full")
    presets.save(task, tmp_path / "half", float16=True)
    full, half = (tmp_path / name / "model.weights.h5" for name in ("full", "half"))
    assert half.stat().st_size < full.stat().st_size
    loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path / "half"))
    for variable, original in zip(loaded.variables, task.variables, strict=True):
        rounded = ops.convert_to_numpy(original).astype("float16")
        assert str(variable.dtype) == "float32"
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), rounded)


def test_a_preset_is_replaced_whole(task, tmp_path):
    presets.save(task, tmp_path / "x")
    (tmp_path / "x" / "stale").touch()
    presets.save(task, tmp_path / "x")
    assert not (tmp_path / "x" / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failed_save_leaves_the_old_preset(task, tmp_path, monkeypatch):
    presets.save(task, tmp_path / "x")
    monkeypatch.setattr(type(task), "save_to_preset", lambda self, path: (path / "a").write_text(1))
    with pytest.raises(TypeError):
        presets.save(task, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    monkeypatch.undo()
    np.testing.assert_array_equal(_logits(zoo.load(tmp_path / "x")), _logits(task))


@pytest.mark.parametrize("file", ["task.json", "config.json", "tokenizer.json"])
def test_a_class_from_elsewhere_is_refused(task, tmp_path, file):
    presets.save(task, tmp_path / "x")
    path = tmp_path / "x" / file
    config = json.loads(path.read_text())
    foreign = {"module": "os", "class_name": "system", "config": {}, "registered_name": None}
    config["config"]["extra"] = [{"nested": foreign}]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{file}: refused to load 'system'"):
        zoo.load(tmp_path / "x")


WEIGHTS = "model.weights.h5"
TOKENIZER = "assets/tokenizer/tokenizer.json"


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _pickle(path):
    path.write_bytes(pickle.dumps(Trap(path.with_name("trapped"))))


def _with_other_units(path):
    path.write_text(path.read_text().replace('"units": 8', '"units": 7'))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:5000])),
        (WEIGHTS, lambda path: path.write_bytes(b"")),
        (WEIGHTS, pathlib.Path.unlink),
        (WEIGHTS, _pickle),
        ("task.json", _with_other_units),
        ("task.json", lambda path: path.write_text("[]")),
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", pathlib.Path.unlink),
        (TOKENIZER, pathlib.Path.unlink),
        (TOKENIZER, lambda path: path.write_text("{}")),
    ],
)
def test_a_damaged_preset_is_refused_in_one_line(task, tmp_path, file, damage):
    presets.save(task, tmp_path / "x")
    damage(tmp_path / "x" / file)
    with pytest.raises(presets.PresetError, match=f"^cannot load {tmp_path / 'x'}: .+$"):
        zoo.load(tmp_path / "x")
    assert not (tmp_path / "x" / "trapped").exists()


def test_a_handle_is_fetched_and_checked_as_a_directory_is(task, tmp_path, monkeypatch):
    presets.save(task, tmp_path / "x")
    asked = []

    def fetch(name, allow_patterns=None):
        asked.append(name)
        if name == "someone/nothing":
            raise ConnectionError("no\nnetwork")
        return str(tmp_path / "x")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(kagglehub, "model_download", fetch)
    monkeypatch.setitem(presets.PRESETS, "far", presets.Preset("hf://someone/far", "", ""))
    for name in ("hf://someone/model", "kaggle://someone/model/keras/base", "far"):
        np.testing.assert_array_equal(_logits(zoo.load(name)), _logits(task))
    assert asked == ["someone/model", "someone/model/keras/base", "someone/far"]
    path = tmp_path / "x" / "task.json"
    path.write_text(path.read_text().replace("LSTMLanguageModel", "Elsewhere"))
    with pytest.raises(presets.PresetError, match="refused to load 'Elsewhere'"):
        zoo.load("hf://someone/model")
    with pytest.raises(presets.PresetError, match=r"^cannot fetch hf://someone/n.*no network$"):
        zoo.load("hf://someone/nothing")
    with pytest.raises(presets.PresetError, match=r"^ftp://x: presets come from"):
        zoo.load("ftp://x")


def test_an_unknown_name_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "lstm_names", presets.Preset("x", "", ""))
    with pytest.raises(ValueError, match=r"^no preset 'lstm_name': .*; did you mean lstm_names\?$"):
        zoo.load("lstm_name")


def test_a_run_keeps_its_model_in_a_preset(tmp_path):
    inside = tmp_path / "run" / "preset"
    inside.mkdir(parents=True)
    (inside / "task.json").touch()
    assert presets.find(tmp_path / "run") == presets.find(inside) == inside
