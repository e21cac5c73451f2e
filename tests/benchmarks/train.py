"""Training through `model.fit` on each backend against a plain PyTorch loop.

    python tests/benchmarks/train.py [--threads 2] [--rounds 5] [--models lstm transformer]

Every system has a process of its own, which stays alive. All begin with the same weights and see
the same batches, and nothing is timed before their losses agree for 20 steps. Then they take turns,
a few steps each, so that whatever else the machine does falls on all of them. The plain loop is
PyTorch at its best: of its variants the one that is fastest in a first round. Beside it stands the
same loop with what training/run.py asks of glibc's allocator, which helps that loop as well.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

VOCABULARY, BATCH = 10_000, 32
LEARNING_RATE, EPSILON = 1e-4, 1e-10
PARITY_STEPS, TOLERANCE = 20, 1e-3
BACKENDS = ("jax", "tensorflow", "torch")
PLAIN = {
    f"PyTorch loop, oneDNN {'on' if onednn else 'off'}, {adam} Adam": (onednn, adam)
    for onednn in (True, False)
    for adam in ("fused", "foreach")
}

KEPT = ", memory kept"

Weights = dict[str, np.ndarray]
Steps = Callable[[int], float]
"""Trains for so many steps and returns their mean loss."""


@dataclass(frozen=True)
class Options:
    """What is measured.

    Args:
        threads: of every system; its process is kept on as many cores.
        rounds: turns of each system.
        steps: training steps a turn.
        models: which of the models.
        backends: which of the backends.
    """

    threads: int = os.cpu_count() or 1
    rounds: int = 5
    steps: int = 10
    models: tuple[Literal["lstm", "transformer"], ...] = ("lstm", "transformer")
    backends: tuple[Literal["jax", "tensorflow", "torch"], ...] = BACKENDS


# === The models: ours, and in plain PyTorch with our weights ===


@dataclass(frozen=True)
class Benchmark:
    """A model, and how many tokens a row it is trained on."""

    window: int
    network: Callable[[], Any]
    plain: Callable[[Weights], Any]


def lstm_network():
    from zoo.models.lstm import LSTMLanguageModel

    return LSTMLanguageModel(VOCABULARY, units=512, num_layers=2)


def lstm_plain(weights: Weights):
    import torch

    class LSTM(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(VOCABULARY, 512)
            self.lstm = torch.nn.LSTM(512, 512, num_layers=2, batch_first=True)
            self.output = torch.nn.Linear(512, VOCABULARY)

        def forward(self, token_ids):
            return self.output(self.lstm(self.embedding(token_ids))[0])

    model = LSTM()
    assign(model.embedding.weight, weights["token_embedding/embeddings"])
    assign(model.output.weight, weights["logits/kernel"].T)
    assign(model.output.bias, weights["logits/bias"])
    for i in range(2):
        assign(getattr(model.lstm, f"weight_ih_l{i}"), weights[f"layer_{i}/kernel"].T)
        assign(getattr(model.lstm, f"weight_hh_l{i}"), weights[f"layer_{i}/recurrent_kernel"].T)
        assign(getattr(model.lstm, f"bias_ih_l{i}"), weights[f"layer_{i}/bias"])
        # Ours has one bias a gate, so that of the two here one is trained.
        getattr(model.lstm, f"bias_hh_l{i}").requires_grad_(False).zero_()
    return model


def assign(parameter, array: np.ndarray) -> None:
    """Copies a weight into a parameter of the same shape."""
    import torch

    if parameter.shape != array.shape:
        raise ValueError(f"{tuple(parameter.shape)} is not {array.shape}")
    with torch.no_grad():
        parameter.copy_(torch.tensor(array))


def transformer_network():
    from zoo.models.transformer import TransformerLanguageModel

    return TransformerLanguageModel(
        VOCABULARY, num_layers=4, num_heads=4, hidden_dim=256, max_sequence_length=64
    )


def transformer_plain(weights: Weights):
    import torch
    import torch.nn.functional as F
    from torch import nn

    def linear(name):
        layer = nn.Linear(*weights[f"{name}/kernel"].shape)
        assign(layer.weight, weights[f"{name}/kernel"].T)
        assign(layer.bias, weights[f"{name}/bias"])
        return layer

    def norm(name):
        layer = nn.LayerNorm(256, eps=1e-5)
        assign(layer.weight, weights[f"{name}/gamma"])
        assign(layer.bias, weights[f"{name}/beta"])
        return layer

    def embedding(name):
        return nn.Embedding.from_pretrained(torch.tensor(weights[f"{name}/embeddings"]), False)

    class Block(nn.Module):
        def __init__(self, i):
            super().__init__()
            self.attention_norm = norm(f"layer_{i}/attention_norm")
            self.query_key_value = linear(f"layer_{i}/query_key_value")
            self.attention_output = linear(f"layer_{i}/attention_output")
            self.feedforward_norm = norm(f"layer_{i}/feedforward_norm")
            self.feedforward = linear(f"layer_{i}/feedforward")
            self.feedforward_output = linear(f"layer_{i}/feedforward_output")

        def forward(self, x):
            batch, time, width = x.shape
            parts = self.query_key_value(self.attention_norm(x)).split(width, dim=2)
            parts = [part.view(batch, time, 4, width // 4).transpose(1, 2) for part in parts]
            heads = F.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.attention_output(heads.transpose(1, 2).reshape(batch, time, width))
            hidden = F.relu(self.feedforward(self.feedforward_norm(x)))
            return x + self.feedforward_output(hidden)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = embedding("token_embedding")
            self.position_embedding = embedding("position_embedding")
            self.blocks = nn.ModuleList(Block(i) for i in range(4))
            self.final_norm = norm("final_norm")

        def forward(self, token_ids):
            positions = torch.arange(token_ids.shape[1])
            x = self.token_embedding(token_ids) + self.position_embedding(positions)
            for block in self.blocks:
                x = block(x)
            return F.linear(self.final_norm(x), self.token_embedding.weight)

    return Transformer()


BENCHMARKS = {
    "lstm": Benchmark(35, lstm_network, lstm_plain),
    "transformer": Benchmark(64, transformer_network, transformer_plain),
}


# === The systems ===


def batches(window: int):
    """Random tokens, the same for every system."""
    from training.data.pipelines import Windows

    rng = np.random.default_rng(0)
    stream = 1 + (VOCABULARY - 1) * rng.random(64 * BATCH * window) ** 4  # some words are common
    return Windows(stream.astype("int32"), BATCH, window)


def fit(benchmark: Benchmark, weights: Path) -> Steps:
    """Our way: network, loss, pipeline and `fit` as in training/run.py."""
    import keras

    from training import adam, environment, losses
    from zoo.backbone import Backbone

    keras.utils.set_random_seed(0)
    backbone = Backbone(benchmark.network())
    model = keras.Model(backbone.input, backbone.output)
    network = f"{backbone.network.name}/"
    names = {w.path.partition(network)[2] or w.path: w for w in model.weights}
    if weights.exists():
        for name, array in np.load(weights).items():
            names[name].assign(array)
    else:
        np.savez(weights, **{name: keras.ops.convert_to_numpy(w) for name, w in names.items()})
    model.compile(
        optimizer=adam.Adam(LEARNING_RATE, epsilon=EPSILON),
        loss=losses.cross_entropy(),
        jit_compile=environment.jit_compile(),
    )
    planner, done = batches(benchmark.window), 0

    def steps(count: int) -> float:
        nonlocal done
        data = planner.dataset(done, done + count)
        done += count
        return model.fit(data, steps_per_epoch=count, shuffle=False, verbose=0).history["loss"][0]

    return steps


def loop(benchmark: Benchmark, weights: Path, onednn: bool, adam: str) -> Steps:
    """The plain way."""
    import torch
    import torch.nn.functional as F

    torch.backends.mkldnn.set_flags(onednn)
    model = benchmark.plain(dict(np.load(weights)))
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        LEARNING_RATE,
        eps=EPSILON,
        **{adam: True},
    )
    planner, done = batches(benchmark.window), 0

    def steps(count: int) -> float:
        nonlocal done
        total = 0.0
        for step in range(done, done + count):
            x, y, _ = planner.batch(step)
            logits = model(torch.from_numpy(x["token_ids"]))
            targets = torch.from_numpy(y).flatten().long()
            loss = F.cross_entropy(logits.flatten(0, 1), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        done += count
        return total / count

    return steps


class System:
    """One system in a process of its own; `ask` it, then `answer` gives seconds and loss.

    The process starts with `environment`, and on as many cores as there are threads, since not
    every library can be told how many to use.
    """

    def __init__(self, name: str, model: str, weights: Path, threads: int):
        os.environ |= {
            "KERAS_BACKEND": name if name in BACKENDS else "torch",
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, name, model, weights, threads)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def train(self, steps: int) -> tuple[float, float]:
        """Trains for so many steps: seconds, and mean loss."""
        self._pipe.send(steps)
        try:
            return self._pipe.recv()
        except EOFError:
            sys.exit(f"error: {self.name} ended; what it said is above")

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, name: str, model: str, weights: Path, threads: int) -> None:
    from training import environment

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    benchmark = BENCHMARKS[model]
    if name in BACKENDS:
        environment.prepare()
        steps = fit(benchmark, weights)
    else:
        if name.endswith(KEPT):
            environment.keep_memory()
        steps = loop(benchmark, weights, *PLAIN[name.removesuffix(KEPT)])
    while True:
        try:
            count = pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        loss = steps(count)
        pipe.send((time.perf_counter() - start, loss))


# === The measurement ===


def measure(model: str, options: Options, folder: Path) -> None:
    """Prints the table of one model."""
    weights = folder / f"{model}.npz"
    names = [*options.backends, *PLAIN]  # a backend makes the weights
    total = (len(names) + 1) * PARITY_STEPS + len(PLAIN)
    total += options.rounds * (len(options.backends) + 2)
    with tqdm(total=total, desc=model, unit="turn", file=sys.stderr) as progress:

        def train(system: System, steps: int) -> tuple[float, float]:
            progress.set_postfix_str(system.name)
            answer = system.train(steps)
            progress.update()
            return answer

        def start(name: str) -> System:
            system = System(name, model, weights, options.threads)
            losses[name] = [train(system, 1)[1] for _ in range(PARITY_STEPS)]
            return system

        losses: dict[str, list[float]] = {}
        systems = [start(name) for name in names]
        loops = systems[len(options.backends) :]
        first = {system: train(system, options.steps)[0] for system in loops}
        plain = min(loops, key=first.get)
        for system in set(loops) - {plain}:
            system.close()
        systems = [*systems[: len(options.backends)], plain, start(plain.name + KEPT)]
        check(losses)
        seconds = [{s: train(s, options.steps)[0] for s in systems} for _ in range(options.rounds)]
    tokens = options.steps * BATCH * BENCHMARKS[model].window
    print(f"\n{model}, {options.threads} threads, medians of {options.rounds} rounds\n")
    print(f"| {'':56} | tokens/s | ratio |\n|{'-' * 58}|---------:|------:|")
    for system in sorted(systems, key=lambda s: statistics.median(r[s] for r in seconds)):
        rate = tokens / statistics.median(turn[system] for turn in seconds)
        ratio = statistics.median(turn[plain] / turn[system] for turn in seconds)
        print(f"| {system.name:56} | {rate:8,.0f} | {ratio:5.2f} |")
    for system in systems:
        system.close()


def check(losses: dict[str, list[float]]) -> None:
    """Ends the program where the systems do not compute the same."""
    table = np.array(list(losses.values()))
    apart = np.abs(table - table[0]).max(axis=1)
    if not apart.max() < TOLERANCE:
        sys.exit(f"error: losses differ: {dict(zip(losses, apart))}")


if __name__ == "__main__":
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            measure(model, options, Path(folder))
