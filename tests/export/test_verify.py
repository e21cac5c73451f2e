"""The comparison that an export has to pass: it finds what is wrong, and says where."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from export.verify import Mismatch, verify
from zoo.bundle import Bundle

write_bundle = runpy.run_path(str(Path(__file__).parents[1] / "toy_bundle.py"))["write_bundle"]


@pytest.fixture(scope="module", params=["language", "translation"])
def bundle(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundles") / "toy"
    return Bundle(write_bundle(directory, request.param == "translation"))


def verified(bundle, cls):
    other = cls(bundle.directory)
    return verify(other, bundle, bundle.tokenizer, bundle.source_tokenizer)


def test_a_model_is_itself(bundle):
    differences = verified(bundle, Bundle)
    leaves = {leaf.name for leaf in bundle.state_spec}
    assert differences == dict.fromkeys({"logits"} | leaves, 0.0)


class WrongLogits(Bundle):
    def step(self, token_ids, state, rows=None, want="logits"):
        logits, state = super().step(token_ids, state, rows, want)
        return (logits * 1.001 if want == "logits" else logits), state


class WrongAfterPadding(Bundle):
    """Counts padding as tokens."""

    def step(self, token_ids, state, rows=None, want="logits"):
        result, new = super().step(token_ids, state, rows, want)
        return result, new | {"layer_0/count": state["layer_0/count"] + np.shape(token_ids)[1]}


class NotANumber(Bundle):
    def step(self, token_ids, state, rows=None, want="logits"):
        result, new = super().step(token_ids, state, rows, want)
        return result, new | {"layer_0/count": new["layer_0/count"] * np.float32("nan")}


class WrongType(Bundle):
    def start(self, source_ids_or_batch):
        state = super().start(source_ids_or_batch)
        return {name: array.astype("float64") for name, array in state.items()}


class LosesRows(Bundle):
    """Right in every step, wrong only when a row leaves, which only a text shows."""

    def take(self, state, rows):
        return {name: array[: len(rows)] * 0 + 50 for name, array in state.items()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (WrongLogits, r"decode: logits \(1, 31\) is off by 1\.0e-03, over 1e-04"),
        (WrongAfterPadding, r"decode: layer_0/count \(3, 1\) is off"),
        (NotANumber, r"decode: layer_0/count \(1, 1\) is off by nan"),
        (LosesRows, r"greedy: '.*' instead of '.*'"),
        (WrongType, r"start: layer_0/count \(1, 1\) float64 instead of \(1, 1\) float32"),
    ],
)
def test_what_is_wrong_is_named(bundle, wrong, message):
    with pytest.raises(Mismatch, match=message):
        verified(bundle, wrong)
