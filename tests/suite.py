"""Runs the whole suite: once what needs no Keras, and once per backend what does.

python tests/suite.py [pytest's arguments]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

RUNS = {
    "no Keras": ("not keras", {}),
    "jax": ("keras", {"KERAS_BACKEND": "jax"}),
    "torch": ("keras", {"KERAS_BACKEND": "torch"}),
    "tensorflow": ("keras", {"KERAS_BACKEND": "tensorflow"}),
}


def run(marks: str, environment: dict[str, str], arguments: list[str]) -> dict[str, int]:
    """Runs pytest once and returns how many tests passed, failed and were skipped.

    A run that ends in any other way than with its tests passed or failed, as with nothing
    collected or killed, counts as one more failure.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", marks, f"--junitxml={report}", *arguments]
        code = subprocess.run(command, env={**os.environ, **environment}).returncode
        suite = ElementTree.parse(report).find("testsuite").attrib if report.exists() else {}
    tests, skipped = (int(suite.get(name, 0)) for name in ("tests", "skipped"))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    passed = tests - skipped - failed
    return {"passed": passed, "failed": failed or int(code != 0), "skipped": skipped}


def main(arguments: list[str]) -> int:
    """Makes every run, failed ones before it or not, and returns the exit status."""
    started, lines, total = time.monotonic(), [], dict.fromkeys(("passed", "failed", "skipped"), 0)
    for name, (marks, environment) in RUNS.items():
        print(f"\n##### {name}", flush=True)
        begun = time.monotonic()
        counts = run(marks, environment, arguments)
        total = {key: total[key] + counts[key] for key in total}
        lines.append(summary(f"{name + ':':<12}", counts, time.monotonic() - begun))
    print("\n##### The whole suite", *lines, sep="\n")
    print(summary("all:        ", total, time.monotonic() - started), flush=True)
    return int(total["failed"] > 0)


def summary(name: str, counts: dict[str, int], seconds: float) -> str:
    counted = ", ".join(f"{count} {key}" for key, count in counts.items())
    return f"{name} {counted} in {seconds / 60:.1f} min"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
