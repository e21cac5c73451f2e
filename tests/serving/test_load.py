"""The load test of tests/benchmarks/serve.py, with some hundred requests."""

import runpy
from pathlib import Path

import pytest

_tests = Path(__file__).parents[1]
load = runpy.run_path(str(_tests / "benchmarks" / "serve.py"))["load"]
write_bundle = runpy.run_path(str(_tests / "toy_bundle.py"))["write_bundle"]


@pytest.mark.slow
def test_every_request_is_answered_once_and_as_if_alone(tmp_path):
    write_bundle(tmp_path / "bundles" / "letters", seed=1)
    write_bundle(tmp_path / "bundles" / "translator", translates=True)
    (tmp_path / "home").mkdir()
    counts = load(tmp_path / "bundles", tmp_path / "home", requests=500, clients=64, checked=200)
    assert counts["compared with the same alone"] == 200
    assert not {name: count for name, count in counts.items() if name.startswith("wrong") and count}
    ends = ("answered", "streamed", "left", "malformed", "refused", "told", "not accepted")
    assert sum(count for name, count in counts.items() if name.startswith(ends)) == 500
