"""Exported models on one thread, against other systems with the same weights.

    python tests/benchmarks/infer.py [--rounds 9] [--parts lstm translation generation ...]

The peers are no part of the project: a table goes without those that are not installed, and says
how to install them. Outputs are compared before anything is timed; then the systems take turns, so
that whatever else the machine does falls on all of them, and what counts is the median of the
ratios of a turn. The clock is the processor's time, which on one thread is that of a machine at
rest: of this process, and where two work side by side the mean of theirs.
"""

import functools
import importlib.util
import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import infer_models
import infer_peers
import numpy as np
import tyro
from infer_models import GENERATED, VOCABULARY, WORDS

from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate, score

KINDS = {"float32": "", "int8": "_int8"}
"""The precisions, and what the name of a bundle of each has at its end."""

System = Callable[[], float | None]
"""Does what is measured once; gives the seconds that it took where they are not this process's."""

Part = Literal["lstm", "translation", "generation", "workers", "start"]


@dataclass(frozen=True)
class Measured:
    """What is measured.

    Args:
        rounds: turns of each system.
        parts: which of the tables.
    """

    rounds: int = 9
    parts: tuple[Part, ...] = ("lstm", "translation", "generation", "workers", "start")


def compare(
    title: str,
    ours: Mapping[str, System],
    peers: Mapping[str, System],
    units: float,
    rounds: int,
) -> None:
    """Prints the rate of each system in units a second, and its ratio to that of each peer."""
    systems = {**ours, **peers}
    for system in systems.values():
        system()
    turns: list[dict[str, float]] = []
    for _ in range(rounds):
        turns.append({})
        for name, system in systems.items():
            start = time.process_time()
            seconds = system()
            turns[-1][name] = time.process_time() - start if seconds is None else seconds
    columns = ["a second", *(f"to {peer}" for peer in peers)]
    print(f"\n| {title:44} | {' | '.join(columns)} |")
    print(f"|{'-' * 46}|{'|'.join('-' * (len(column) + 1) + ':' for column in columns)}|")
    for name in systems:
        rate = units / statistics.median(turn[name] for turn in turns)
        ratios = [statistics.median(turn[peer] / turn[name] for turn in turns) for peer in peers]
        cells = [f"{rate:,.1f}", *(f"{ratio:.2f}" for ratio in ratios)]
        aligned = [cell.rjust(len(column)) for cell, column in zip(cells, columns)]
        print(f"| {name:44} | {' | '.join(aligned)} |", flush=True)


def is_there(package: str) -> bool:
    """Whether a peer is installed; says how to install it where it is not."""
    there = importlib.util.find_spec(package.replace("-", "_")) is not None
    if not there:
        print(f"\nwithout {package}, which is not here: pip install {package}")
    return there


def some_ids(count: int, length: int) -> list[list[int]]:
    """Sentences of so many words."""
    return np.random.default_rng(1).integers(3, VOCABULARY, (count, length)).tolist()


def opened(folder: Path, name: str) -> dict[str, Bundle]:
    """A model in each precision."""
    return {kind: Bundle(folder / (name + end)) for kind, end in KINDS.items()}


def write(bundle: Bundle, requests: list[Request]) -> list[tuple[int, ...]]:
    """The texts of a bundle, as ids."""
    return [result.token_ids for result in generate(bundle, bundle.tokenizer, requests)]


def check(what: str, texts: list, name: str, others: list) -> None:
    """Prints how many texts are those of a peer, and stops where that is not nearly all."""
    same = sum(a == b for a, b in zip(texts, others, strict=True))
    print(f"\n{what}: {same} of {len(texts)} float32 texts are those of {name}")
    if same < 0.9 * len(texts):
        sys.exit("error: the systems do not do the same, so that their speeds say nothing")


def doing(function: Callable, *arguments) -> System:
    """The system that calls a function."""

    def run():
        function(*arguments)

    return run


# === A step of the LSTM ===


def lstm(folder: Path, rounds: int) -> None:
    """Rates of single steps, with the logits of each."""
    weights = infer_peers.Weights(folder / "lstm.npz")
    bundles = opened(folder, "lstm")
    peer = infer_peers.torch_lstm(weights) if is_there("torch") else None

    def ours(bundle, ids, steps):
        state = bundle.start(len(ids))
        for _ in range(steps):
            _, state = bundle.step(ids, state)

    def theirs(ids, steps):
        state = None
        for _ in range(steps):
            _, state = peer(ids, state)

    def products(steps):
        for _ in range(steps):
            for matrix in weights.kernels:
                np.ones(len(matrix), "float32") @ matrix

    for batch, steps in ((1, 40), (16, 10)):
        ids = np.full((batch, 1), 5, "int32")
        logits, _ = bundles["float32"].step(ids, bundles["float32"].start(batch))
        peers = {}
        if peer:
            np.testing.assert_allclose(logits, peer(ids, None)[0], atol=1e-4)
            peers["torch nn.LSTM"] = doing(theirs, ids, steps)
        if batch == 1:
            peers["matrix-vector products alone"] = doing(products, steps)
        systems = {kind: doing(ours, bundles[kind], ids, steps) for kind in KINDS}
        compare(f"LSTM step, tokens, batch {batch}", systems, peers, steps * batch, rounds)


# === Translation ===


def translations(sources, beam: int) -> list[Request]:
    """Requests for the translations of sources."""
    # The peers rank by the mean log-probability of a token.
    ranking = {"length_penalty": 1.0, "length_penalty_form": "plain"} if beam > 1 else {}
    options = Options(max_tokens=WORDS, beam_size=beam, **ranking)
    return [Request((1,), tuple(source), options) for source in sources]


def translation(folder: Path, rounds: int) -> None:
    """Sentences a second."""
    bundles = opened(folder, "translation")
    sources = [[*words, 1] for words in some_ids(32, WORDS - 1)]
    peers: dict[str, dict[str, Callable]] = {kind: {} for kind in KINDS}
    if is_there("transformers"):
        weights = infer_peers.Weights(folder / "translation.npz")
        peers["float32"]["Hugging Face"] = infer_peers.marian(weights)
    if is_there("ctranslate2"):
        translators = {kind: infer_peers.CTranslate2(folder, kind) for kind in KINDS}
        for kind, translator in translators.items():
            peers[kind]["CTranslate2"] = translator.translate
        print_changes(bundles, translators, sources)
    for beam in (1, 4):
        texts = write(bundles["float32"], translations(sources, beam))
        for name, translate in peers["float32"].items():
            check(f"beam {beam}", texts, name, translate(sources, beam))
    for beam in (1, 4):
        for count in (1, len(sources)):
            for kind, bundle in bundles.items():
                asked = sources[:count], beam
                systems = {"bundle": doing(write, bundle, translations(*asked))}
                others = {name: doing(peer, *asked) for name, peer in peers[kind].items()}
                if count > 1:
                    others.pop("Hugging Face", None)
                title = f"{kind}, beam {beam}, batch {count}, sentences"
                compare(title, systems, others, count, rounds)


def print_changes(bundles, translators, sources) -> None:
    """Prints what 8 bits change of the log-probabilities of the same texts."""
    requests = translations(sources, 1)
    texts = write(bundles["float32"], requests)
    log_probs = {
        "bundle": [
            [result.log_probs for result in score(bundle, bundle.tokenizer, requests, texts)]
            for bundle in bundles.values()
        ],
        "CTranslate2": [peer.score(sources, texts) for peer in translators.values()],
    }
    print("\nmean change of a log-probability in 8 bits:", end="")
    for name, precisions in log_probs.items():
        change = np.abs(np.subtract(*map(np.concatenate, precisions))).mean()
        print(f" {name} {change:.3f}", end="")
    print()


# === Generation ===


def generation(folder: Path, rounds: int) -> None:
    """Tokens a second of a decoder alone, 256 of them one by one."""
    bundles = opened(folder, "generation")
    prompts = [[1, *words] for words in some_ids(16, 1)]
    peers = {}
    if is_there("transformers"):
        model = infer_peers.nemotron(infer_peers.Weights(folder / "generation.npz"))
        peers["Hugging Face"] = infer_peers.huggingface_writer(model)
        if is_there("onnxruntime-genai"):
            tokenizer = folder / "generation" / "tokenizer.json"
            peers["onnxruntime-genai"] = infer_peers.genai_writer(model, tokenizer, folder)
    options = Options(max_tokens=GENERATED)
    for count in (1, len(prompts)):
        requests = [Request(tuple(prompt), None, options) for prompt in prompts[:count]]
        texts = write(bundles["float32"], requests)
        for name, peer in peers.items():
            check(f"batch {count}", texts, name, peer(prompts[:count]))
        systems = {kind: doing(write, bundles[kind], requests) for kind in KINDS}
        others = {name: doing(peer, prompts[:count]) for name, peer in peers.items()}
        compare(f"generation, tokens, batch {count}", systems, others, count * GENERATED, rounds)


# === Two workers ===


def workers(folder: Path, rounds: int) -> None:
    """Sentences a second of two translators side by side, on a core each."""
    cores = every_core()[-2:]
    os.sched_setaffinity(0, cores)
    context = multiprocessing.get_context("spawn")
    pools = [
        ProcessPoolExecutor(1, context, initializer=os.sched_setaffinity, initargs=(0, [core]))
        for core in cores
    ]
    sources = [[*words, 1] for words in some_ids(64, WORDS - 1)]
    there = is_there("ctranslate2")
    for beam in (1, 4):
        halves = [translations(sources[i::2], beam) for i in range(2)]
        for kind, end in KINDS.items():

            def ours(path=folder / f"translation{end}", halves=halves):
                futures = [pool.submit(timed, path, half) for pool, half in zip(pools, halves)]
                return statistics.mean(future.result() for future in futures)

            peers = {}
            if there:
                translator = infer_peers.CTranslate2(folder, kind, workers=2)

                def theirs(translator=translator, beam=beam):
                    start = time.process_time()
                    translator.translate(sources, beam, most=32)
                    return (time.process_time() - start) / 2

                peers["CTranslate2"] = theirs
            title = f"two workers, {kind}, beam {beam}, batch 32"
            compare(title, {"bundle": ours}, peers, len(sources), rounds)
    for pool in pools:
        pool.shutdown()


def timed(path: Path, requests: list[Request]) -> float:
    """Seconds of this process, which keeps the bundle."""
    bundle = _kept(path)
    start = time.process_time()
    write(bundle, requests)
    return time.process_time() - start


_kept = functools.cache(Bundle)


# === The first token of a process ===


def start(folder: Path, rounds: int) -> None:
    """Seconds and memory of a process up to its first token."""
    program = (
        "import pathlib, re, sys; from zoo.bundle import Bundle; from zoo.decoding import *;"
        "b = Bundle(sys.argv[1]); s = 'w1 w2' if b.source_tokenizer else None;"
        "generate(b, b.tokenizer, [Request.of(b.tokenizer, 'w5', s, Options(max_tokens=1))]);"
        # Not `getrusage`, which begins with the memory of the process that started this one.
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    print(f"\n| {'first token':30} | weights, MB | seconds | MB |\n|---|---:|---:|---:|")
    for name in (model + end for model in infer_models.NAMES for end in KINDS.values()):
        seconds, peaks = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            command = [sys.executable, "-c", program, str(folder / name)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(time.perf_counter() - begin)
            peaks.append(int(ran.stdout) * 1024 / 1e6)
        size = (folder / name / "weights.bin").stat().st_size / 1e6
        median = statistics.median
        print(f"| {name:30} | {size:.0f} | {median(seconds):.2f} | {median(peaks):.0f} |")


@functools.cache
def every_core() -> list[int]:
    """The cores that this process began with."""
    return sorted(os.sched_getaffinity(0))


def main(measured: Measured) -> None:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as name:
        # Keras in a process of its own: it is not to be in memory here.
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, infer_models.__file__, name]
        subprocess.run(command, env=environment, check=True)
        measure(Path(name), measured)


def measure(folder: Path, measured: Measured) -> None:
    """Prints the tables of the bundles in a folder."""
    tables = [lstm, translation, generation, workers, start]
    for table in tables:
        if table.__name__ in measured.parts:
            os.sched_setaffinity(0, every_core()[-1:])
            table(folder, measured.rounds)


if __name__ == "__main__":
    main(tyro.cli(Measured, description=__doc__))
