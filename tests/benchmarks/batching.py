"""Tokens a second and time to first token: the service beside BentoML's adaptive batching.

python tests/benchmarks/infer_models.py DIRECTORY
python tests/benchmarks/batching.py --bundles DIRECTORY --model lstm

Texts of 8 to 256 tokens, the same for both, which take turns; of each number the median of the
rounds. Before the table come the rates at a full batch of the model's steps, of the decoder around
them and of the engine around that; after it the time of a small /next_token, beside that of a route
that does no more.
"""

import argparse
import asyncio
import contextlib
import random
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from serving.call import Call
from serving.engine import Engine
from serving.limits import Limits
from serving.metrics import Metrics
from zoo.bundle import Bundle
from zoo.decoding import Decoder, Options, Request

Server = runpy.run_path(str(Path(__file__).parents[1] / "server_process.py"))["Server"]
HERE = Path(__file__).parent
LENGTHS = (8, 256)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundles", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128], help="of both")
    parser.add_argument("--seconds", type=float, default=15, help="of texts, about, each")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    directory = Path(arguments.bundles).resolve()
    bundle = Bundle(directory / arguments.model)
    metrics, rate = Metrics(), {}
    print("| rows | steps of the model, tokens/s | decoder | engine |\n|---|---|---|---|")
    for rows in arguments.batches:
        rates = [full_batch(bundle, rows, metrics) for _ in range(arguments.rounds)]
        rate[rows], *around = map(statistics.median, zip(*rates))
        shares = [f"{value:,.0f} ({value / rate[rows]:.2f})" for value in around]
        print(f"| {rows} | {rate[rows]:,.0f} |", " | ".join(shares), "|", flush=True)
    print("| system | rows | clients | tokens/s | first token p50, ms | p99, ms |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rows in arguments.batches:
            adaptive = [sys.executable, "-m", "bentoml", "serve", "adaptive:Adaptive"]
            adaptive += ["--working-dir", str(HERE)]
            adaptive_environment = {
                "ZOO_BUNDLE": str(directory / arguments.model),
                "ZOO_BATCH": str(rows),
                "PYTHONPATH": f"{HERE.parents[1]}:{HERE}",
            }
            own = {"ZOO_MAX_ROWS": str(rows)}
            with (
                Server(directory, Path(folder), **own) as ours,
                Server(directory, Path(folder), adaptive, **adaptive_environment) as theirs,
            ):
                for clients in arguments.clients:
                    count = max(3 * clients, int(arguments.seconds * rate[rows] / 132 / 4))
                    lengths = random.Random(0).choices(range(LENGTHS[0], LENGTHS[1] + 1), k=count)
                    systems = {
                        "Sequence Zoo": (ours, whole_of_ours),
                        "Sequence Zoo, streaming": (ours, stream),
                        "adaptive batching": (theirs, whole),
                    }
                    found = {name: [] for name in systems}
                    for _ in range(arguments.rounds):
                        for name, (server, send) in systems.items():
                            driven = drive(server.url, send, arguments.model, lengths, clients)
                            tokens, first = asyncio.run(driven)
                            found[name].append((tokens, *np.percentile(first, [50, 99]) * 1000))
                    for name, rounds in found.items():
                        numbers = [f"{statistics.median(column):,.0f}" for column in zip(*rounds)]
                        print("|", " | ".join([name, str(rows), str(clients), *numbers]), "|")
                    sys.stdout.flush()
        bare = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(HERE)]
        bundle = {"ZOO_BUNDLE": str(directory / arguments.model)}
        with (
            Server(directory, Path(folder)) as ours,
            Server(directory, Path(folder), bare, **bundle) as theirs,
        ):
            systems = {"Sequence Zoo": ours.url, "a bare starlette route": theirs.url}
            print("| /next_token at one client | p50, ms | p99, ms |\n|---|---|---|")
            for name, numbers in overhead(systems, arguments.model).items():
                print(f"| {name} | {numbers[0]:.2f} | {numbers[1]:.2f} |")


async def drive(url, send, model, lengths, clients):
    """Tokens a second, and the seconds to the first token of each text."""
    waiting, first, written = list(lengths), [], 0

    async def client(http):
        nonlocal written
        while waiting:
            length = waiting.pop()
            begun = time.perf_counter()
            at, count = await send(http, model, length)
            first.append(at - begun)
            written += count

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as http:
        begun = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        return written / (time.perf_counter() - begun), first


async def stream(http, model, length):
    body = {"model": model, "prompt": "ma", "max_tokens": length, "suppress_ids": [1]}
    first = None
    async with http.stream("POST", "/generate", json=body | {"stream": True}) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_bytes():
            first = first or time.perf_counter()
    return first, length


async def whole_of_ours(http, model, length):
    body = {"model": model, "prompt": "ma", "max_tokens": length, "suppress_ids": [1]}
    answer = await http.post("/generate", json=body)
    answer.raise_for_status()
    return time.perf_counter(), answer.json()["usage"]["completion_tokens"]


async def whole(http, model, length):
    answer = await http.post("/generate", json={"asked": [{"prompt": "ma", "max_tokens": length}]})
    answer.raise_for_status()
    return time.perf_counter(), answer.json()[0]


def full_batch(bundle, rows, metrics):
    """Tokens a second at a full batch: of the model's steps, of the decoder, of the engine."""
    options = Options(max_tokens=LENGTHS[1], suppress_ids=(1,))
    request = Request.of(bundle.tokenizer, "ma", options=options)
    token_ids, state = np.full((rows, 1), 5, "int32"), bundle.start(rows)

    def steps():
        nonlocal state
        for _ in range(LENGTHS[1]):
            _, state = bundle.step(token_ids, state, want=1)

    def decoder():
        all_rows = Decoder(bundle, bundle.tokenizer)
        all_rows.add([request] * rows)
        while all_rows.searches:
            all_rows.step()

    async def engine():
        one = Engine({"one": bundle}, Limits(max_rows=rows), metrics)
        one.start()
        calls = [one.submit(Call("one", 600, [request])).results() for _ in range(rows)]
        begun = time.perf_counter()
        await asyncio.gather(*calls)
        seconds = time.perf_counter() - begun
        await asyncio.to_thread(one.stop)
        return seconds

    seconds = [_seconds(steps), _seconds(decoder), asyncio.run(engine())]
    return [rows * LENGTHS[1] / one for one in seconds]


def _seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def overhead(systems, model):
    """p50 and p99, in milliseconds, of the smallest request to each system, which take turns."""
    seconds = {name: [] for name in systems}
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(httpx.Client(base_url=url)) for name, url in systems.items()
        }
        for _ in range(2000):
            for name, http in clients.items():
                begun = time.perf_counter()
                answer = http.post("/next_token", json={"model": model, "text": "m", "k": 1})
                seconds[name].append(time.perf_counter() - begun)
                answer.raise_for_status()
    return {name: np.percentile(taken[200:], [50, 99]) * 1000 for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
