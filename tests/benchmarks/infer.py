"""Exported models on one thread, against other systems with the same weights.

    python tests/benchmarks/infer.py [--rounds 9] [--parts lstm translation start]

The peers are no part of the project: `pip install --no-deps ctranslate2` where its rows are wanted.
Outputs are compared before anything is timed; then the systems take turns, so that whatever else
the machine does falls on all of them, and what counts is the median of the ratios of a turn. The
clock is the processor's time for this process, which on one thread is that of a machine at rest.
"""

import functools
import importlib.util
import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate, score

VOCABULARY, UNITS = 10_000, 512
WORDS, LAYERS, HEADS, WIDTH = 20, 3, 8, 256

System = Callable[[], None]
"""Does what is measured once."""


@dataclass(frozen=True)
class Measured:
    """What is measured.

    Args:
        rounds: turns of each system.
        parts: which of the tables.
    """

    rounds: int = 9
    parts: tuple[Literal["lstm", "translation", "start"], ...] = ("lstm", "translation", "start")


def compare(title: str, systems: Mapping[str, System], units: float, rounds: int) -> None:
    """Prints the rate of each system in units a second, and its ratio to the last one."""
    for system in systems.values():
        system()
    turns = []
    for _ in range(rounds):
        turns.append({})
        for name, system in systems.items():
            start = time.process_time()
            system()
            turns[-1][name] = time.process_time() - start
    peer = list(systems)[-1]
    print(f"\n| {title:44} | a second | ratio |\n|{'-' * 46}|---------:|------:|")
    for name in systems:
        rate = units / statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[peer] / turn[name] for turn in turns)
        print(f"| {name:44} | {rate:8,.1f} | {ratio:5.2f} |", flush=True)


# === Models with random weights, exported as any other ===


def write_bundles(folder: Path) -> None:
    """Writes `lstm`, `translation`, and both as `int8`; and their weights."""
    import keras

    from export.exporter import export_all
    from zoo.backbone import Backbone, EncoderDecoderBackbone
    from zoo.models.lstm import LSTMLanguageModel
    from zoo.models.vaswani import VaswaniEncoderDecoder
    from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer, Seq2SeqLMPreprocessor
    from zoo.tasks import CausalLM, Seq2SeqLM
    from zoo.tokenizers import train_words

    keras.utils.set_random_seed(0)
    words = " ".join(f"w{i}" for i in range(VOCABULARY - 3))
    tokenizer = PresetTokenizer(train_words([words]))
    translator = VaswaniEncoderDecoder(
        VOCABULARY, num_layers=LAYERS, num_heads=HEADS, hidden_dim=WIDTH
    )
    tasks = {
        "lstm": CausalLM(
            Backbone(LSTMLanguageModel(VOCABULARY, units=UNITS, num_layers=2)),
            CausalLMPreprocessor(tokenizer, sequence_length=WORDS),
        ),
        "translation": Seq2SeqLM(
            EncoderDecoderBackbone(translator),
            Seq2SeqLMPreprocessor(
                tokenizer, encoder_sequence_length=WORDS, decoder_sequence_length=WORDS
            ),
        ),
    }
    random = np.random.default_rng(0)
    for name, task in tasks.items():
        for weight in task.backbone.weights:
            if weight.name in ("bias", "beta"):
                weight.assign(random.normal(scale=0.1, size=weight.shape))
        arrays = {weight.path: weight.numpy() for weight in task.backbone.weights}
        np.savez(folder / f"{name}.npz", **arrays)
    export_all({folder / name: task for name, task in tasks.items()})
    for name in tasks:
        write_int8(folder / name, folder / f"{name}_int8")


def write_int8(bundle: Path, to: Path) -> None:
    """Writes a bundle with the graphs of another in 8 bits."""
    from export import weights
    from export.quantize import quantize

    shutil.copytree(bundle, to, ignore=shutil.ignore_patterns("saved_model"))
    weights.rewrite(to, quantize)
    manifest = json.loads((to / "manifest.json").read_text())
    files = [path for path in to.iterdir() if path.name != "manifest.json"]
    manifest["files"] = {path.name: sha256(path.read_bytes()).hexdigest() for path in files}
    (to / "manifest.json").write_text(json.dumps(manifest))


# === A step of the LSTM ===


def lstm(folder: Path, rounds: int) -> None:
    """Rates of single steps, with the logits of each."""
    import torch

    torch.set_num_threads(1)
    weights = dict(np.load(folder / "lstm.npz"))
    matrices = [array for name, array in weights.items() if "kernel" in name]
    bundle, int8 = Bundle(folder / "lstm"), Bundle(folder / "lstm_int8")
    peer = torch_lstm(weights)
    for batch, steps in ((1, 40), (16, 10)):
        ids = np.full((batch, 1), 5, "int32")
        ours, _ = bundle.step(ids, bundle.start(batch))
        theirs, _ = peer(torch.from_numpy(ids), None)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)

        def stepping(bundle, batch=batch, steps=steps, ids=ids):
            def run():
                state = bundle.start(batch)
                for _ in range(steps):
                    _, state = bundle.step(ids, state)

            return run

        def products(steps=steps):
            for _ in range(steps):
                for matrix in matrices:
                    np.ones(len(matrix), "float32") @ matrix

        def eager(steps=steps, ids=ids):
            state = None
            for _ in range(steps):
                _, state = peer(torch.from_numpy(ids), state)

        systems = {"int8": stepping(int8), "float32": stepping(bundle)}
        if batch == 1:
            systems["matrix-vector products alone"] = products
        systems["torch nn.LSTM"] = eager
        compare(f"LSTM step, tokens, batch {batch}", systems, steps * batch, rounds)


def torch_lstm(weights):
    """`(ids, state) -> (logits, state)` in torch."""
    import torch

    def tensor(name):
        (array,) = (array for key, array in weights.items() if key.endswith(name))
        return torch.from_numpy(array)

    layers = torch.nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True)
    for i in range(2):
        values = [tensor(f"layer_{i}/{name}").T for name in ("kernel", "recurrent_kernel")]
        values += [tensor(f"layer_{i}/bias"), torch.zeros(4 * UNITS)]
        for parameter, value in zip(layers.all_weights[i], values):
            parameter.data.copy_(value)
    table, kernel, bias = map(tensor, ("embeddings", "logits/kernel", "logits/bias"))

    @torch.inference_mode()
    def step(ids, state):
        outputs, state = layers(table[ids.long()], state)
        return outputs @ kernel + bias, state

    return step


# === Translation ===


def translation(folder: Path, rounds: int) -> None:
    """Sentences a second against CTranslate2."""
    if not importlib.util.find_spec("ctranslate2"):
        print("\nctranslate2 is missing: no table of translation")
        return
    ours = {"float32": Bundle(folder / "translation"), "int8": Bundle(folder / "translation_int8")}
    theirs = ctranslate2_translators(folder)
    random = np.random.default_rng(1)
    tokenizer = ours["float32"].tokenizer
    sources = [[*random.integers(3, VOCABULARY, WORDS - 1).tolist(), 1] for _ in range(32)]

    def zoo(kind, sources, beam):
        options = Options(max_tokens=WORDS, beam_size=beam)
        requests = [Request((1,), tuple(source), options) for source in sources]
        return [r.token_ids for r in generate(ours[kind], tokenizer, requests)]

    def ctranslate2(kind, sources, beam):
        words = [[tokenizer.token(i) for i in source] for source in sources]
        results = theirs[kind].translate_batch(
            words, beam_size=beam, max_decoding_length=WORDS, return_end_token=True
        )
        return [tuple(map(tokenizer.id, r.hypotheses[0])) for r in results]

    for beam in (1, 4):
        pairs = zip(zoo("float32", sources, beam), ctranslate2("float32", sources, beam))
        same = sum(a == b for a, b in pairs)
        print(f"\nbeam {beam}: {same} of {len(sources)} float32 texts are the same")
    texts = zoo("float32", sources, 1)
    print("mean change of a log-probability in 8 bits:", *changes(ours, theirs, sources, texts))
    for beam in (1, 4):
        for count in (1, len(sources)):
            for kind in ours:
                asked = kind, sources[:count], beam
                systems = {
                    "bundle": functools.partial(zoo, *asked),
                    "CTranslate2": functools.partial(ctranslate2, *asked),
                }
                compare(f"{kind}, beam {beam}, batch {count}, sentences", systems, count, rounds)


def changes(ours, theirs, sources, texts) -> list[str]:
    """Of the tokens of the same texts, in a bundle and in CTranslate2."""
    tokenizer = ours["float32"].tokenizer
    requests = [Request((1,), tuple(source)) for source in sources]
    bundles = [
        np.concatenate([r.log_probs for r in score(bundle, tokenizer, requests, texts)])
        for bundle in ours.values()
    ]
    words = [[[tokenizer.token(i) for i in ids] for ids in lists] for lists in (sources, texts)]
    peers = [
        np.concatenate([r.log_probs[: len(text)] for r, text in zip(t.score_batch(*words), texts)])
        for t in theirs.values()
    ]
    return [
        f"{name} {np.abs(np.subtract(*log_probs)).mean():.3f}"
        for name, log_probs in (("bundle", bundles), ("CTranslate2", peers))
    ]


def ctranslate2_translators(folder):
    """The translator with our weights, by precision."""
    import ctranslate2
    from ctranslate2.specs import TransformerSpec

    weights = dict(np.load(folder / "translation.npz"))
    tokens = Bundle(folder / "translation").tokenizer

    def array(name):
        (found,) = (array for key, array in weights.items() if key.endswith(name))
        return np.ascontiguousarray(found)

    def linear(spec, name):
        spec.weight = np.ascontiguousarray(array(f"/{name}/kernel").T)
        spec.bias = array(f"/{name}/bias")

    def norm(spec, name):
        spec.gamma, spec.beta = array(f"/{name}/gamma"), array(f"/{name}/beta")

    def layer(spec, name):
        linear(spec.self_attention.linear[0], f"{name}/query_key_value")
        linear(spec.self_attention.linear[1], f"{name}/attention_output")
        norm(spec.self_attention.layer_norm, f"{name}/attention_norm")
        linear(spec.ffn.linear_0, f"{name}/feedforward")
        linear(spec.ffn.linear_1, f"{name}/feedforward_output")
        norm(spec.ffn.layer_norm, f"{name}/feedforward_norm")

    spec = TransformerSpec.from_config(LAYERS, HEADS, pre_norm=False)
    table = array("/token_embedding/embeddings")
    positions = np.arange(512)[:, None] * 10_000.0 ** (-2 * np.arange(WIDTH // 2) / WIDTH)
    positions = np.concatenate([np.sin(positions), np.cos(positions)], 1).astype("float32")
    for part in (spec.encoder, spec.decoder):
        part.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    spec.decoder.projection.bias = np.where(np.arange(VOCABULARY) == 0, -1e4, 0).astype("float32")
    for i in range(LAYERS):
        layer(spec.encoder.layer[i], f"encoder_layer_{i}")
        decoder, name = spec.decoder.layer[i], f"layer_{i}"
        layer(decoder, name)
        linear(decoder.attention.linear[0], f"{name}/memory_query")
        linear(decoder.attention.linear[1], f"{name}/memory_key_value")
        linear(decoder.attention.linear[2], f"{name}/memory_output")
        norm(decoder.attention.layer_norm, f"{name}/memory_norm")
    words = [tokens.token(i) for i in range(VOCABULARY)]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    eos = tokens.token(1)
    spec.config.eos_token = spec.config.bos_token = spec.config.decoder_start_token = eos
    spec.config.layer_norm_epsilon = 1e-5
    spec.validate()
    (folder / "ctranslate2").mkdir(exist_ok=True)
    spec.save(str(folder / "ctranslate2"))
    return {
        kind: ctranslate2.Translator(
            str(folder / "ctranslate2"), compute_type=kind, intra_threads=1
        )
        for kind in ("float32", "int8")
    }


# === The first token of a process ===


def start(folder: Path, rounds: int) -> None:
    """Seconds and memory of a process up to its first token."""
    program = (
        "import resource, sys; from zoo.bundle import Bundle; from zoo.decoding import *;"
        "b = Bundle(sys.argv[1]); s = 'w1 w2' if b.source_tokenizer else None;"
        "generate(b, b.tokenizer, [Request.of(b.tokenizer, 'w5', s, Options(max_tokens=1))]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"
    )
    print(f"\n| {'first token':30} | weights, MB | seconds | MB |\n|---|---:|---:|---:|")
    for name in ("lstm", "lstm_int8", "translation", "translation_int8"):
        seconds, peaks = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            command = [sys.executable, "-c", program, str(folder / name)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(time.perf_counter() - begin)
            peaks.append(float(ran.stdout))
        size = (folder / name / "weights.bin").stat().st_size / 1e6
        median = statistics.median
        print(f"| {name:30} | {size:.0f} | {median(seconds):.2f} | {median(peaks):.0f} |")


def main(measured: Measured) -> None:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Keras in a process of its own: it is not to be in memory here.
        program = "import runpy, sys, pathlib; m = runpy.run_path(sys.argv[1]);"
        program += "m['write_bundles'](pathlib.Path(sys.argv[2]))"
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, "-c", program, __file__, name]
        subprocess.run(command, env=environment, check=True)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
        for part in measured.parts:
            {"lstm": lstm, "translation": translation, "start": start}[part](
                folder, measured.rounds
            )


if __name__ == "__main__":
    main(tyro.cli(Measured, description=__doc__))
