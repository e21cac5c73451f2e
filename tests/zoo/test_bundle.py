"""Bundles: the contract over ONNX Runtime, and what is refused."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo import contract
from zoo.bundle import Bundle, BundleError
from zoo.decoding import Options, Request, generate

write_bundle = runpy.run_path(str(Path(__file__).parents[1] / "toy_bundle.py"))["write_bundle"]
SOURCES = np.array([[5, 6, 7, 1], [8, 1, 0, 0]], "int32")


@pytest.fixture(scope="module", params=["language", "translation"])
def directory(request, tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundles") / "toy", request.param == "translation")


@pytest.fixture
def bundle(directory):
    return Bundle(directory)


@pytest.fixture
def copy(tmp_path):
    return write_bundle(tmp_path / "toy")


def start(bundle):
    return bundle.start(SOURCES if bundle.source_tokenizer else 2)


# === The contract ===


def test_one_token_at_a_time_is_all_at_once(bundle):
    token_ids = np.array([[1, 4, 9, 5], [1, 7, 0, 0]])
    logits, state = bundle.step(token_ids, start(bundle))
    bundle.state_spec.check(state)
    step_state = start(bundle)
    bundle.state_spec.check(step_state)
    for time in range(token_ids.shape[1]):
        step_logits, step_state = bundle.step(token_ids[:, time : time + 1], step_state)
        np.testing.assert_allclose(step_logits[:, 0], logits[:, time], rtol=1e-6)
    for name, array in state.items():
        np.testing.assert_array_equal(step_state[name], array)


def test_the_best_are_those_after_the_last_real_token(bundle):
    token_ids = np.array([[1, 4, 9], [1, 7, 0]])
    logits, _ = bundle.step(token_ids, start(bundle))
    (ids, log_probs), _ = bundle.step(token_ids, start(bundle), want=3)
    last = logits[[0, 1], [2, 1]][:, 1:]  # without padding
    np.testing.assert_array_equal(ids - 1, np.argsort(-last)[:, :3])
    total = np.log(np.exp(last).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_probs, np.take_along_axis(last, ids - 1, 1) - total, rtol=1e-5)


def test_rows_are_taken_before_the_step(bundle):
    _, state = bundle.step([[1, 5], [1, 6]], start(bundle))
    rows = [1, 0, 1]
    logits, taken = bundle.step([[4], [5], [6]], state, rows)
    expected, _ = bundle.step([[4], [5], [6]], bundle.take(state, rows))
    np.testing.assert_array_equal(logits, expected)
    joined = bundle.join([bundle.take(taken, [2]), bundle.take(taken, [0, 1])])
    for name, array in bundle.trim(joined).items():
        np.testing.assert_array_equal(array, taken[name][[2, 0, 1]])


def test_a_source_where_one_belongs(bundle):
    wrong = 2 if bundle.source_tokenizer else SOURCES
    with pytest.raises(ValueError, match="source sentence"):
        bundle.start(wrong)


def test_decoding_needs_no_framework(directory):
    program = f"""
import sys
from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate

bundle = Bundle({str(directory)!r})
source = "abc" if bundle.source_tokenizer else None
request = Request.of(bundle.tokenizer, "a", source, Options(max_tokens=20))
print(generate(bundle, bundle.tokenizer, [request])[0].text)
assert not {{"keras", "tensorflow", "torch", "jax", "onnx"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    bundle = Bundle(directory)
    source = "abc" if bundle.source_tokenizer else None
    request = Request.of(bundle.tokenizer, "a", source, Options(max_tokens=20))
    assert ran.stdout == generate(bundle, bundle.tokenizer, [request])[0].text + "\n"


# === What is refused ===


def change(path, change):
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_newer_format_is_refused(copy):
    change(copy / "manifest.json", lambda manifest: manifest.update(format_version=2))
    with pytest.raises(BundleError, match=r"toy is of format 2 .* up to 1: update"):
        Bundle(copy)


@pytest.mark.parametrize("name", ["decode.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused_by_name(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is not as it was exported"):
        Bundle(copy)


def test_a_missing_file_is_named(copy):
    (copy / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer\.json is missing"):
        Bundle(copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format_version": null}', "\0"])
def test_a_damaged_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle(copy)


def test_a_manifest_without_its_parts_is_refused(copy):
    change(copy / "manifest.json", lambda manifest: manifest["state"][0].pop("name"))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle(copy)


def test_a_bundle_of_another_kind_is_refused(copy):
    change(copy / "manifest.json", lambda manifest: manifest.pop("state"))
    with pytest.raises(BundleError, match="toy has no state"):
        Bundle(copy)


def test_another_directory_is_no_bundle(tmp_path):
    for path in (tmp_path, tmp_path / "nothing", Path(__file__)):
        with pytest.raises(BundleError, match="is no bundle"):
            Bundle(path)


def test_join_is_the_contracts(bundle):
    """The constants of a translation are rows like any other leaf."""
    states = [start(bundle), start(bundle)]
    joined = bundle.join(states)
    assert set(joined) == {leaf.name for leaf in bundle.state_spec}
    expected = contract.join(bundle.state_spec, states)
    for name, array in joined.items():
        np.testing.assert_array_equal(array, expected[name])
