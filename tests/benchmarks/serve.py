"""The service under load: mixed requests, clients that leave, bodies that are none, SIGTERM midway.

python tests/benchmarks/serve.py --requests 10000 --clients 128 [--bundles bundles]

Ends with counts, and fails where an accepted request was not answered exactly once, a text is
not that of the same request alone, or memory grows.
"""

import argparse
import asyncio
import collections
import functools
import json
import random
import re
import runpy
import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
import psutil

from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate, score

_tests = Path(__file__).parents[1]
write_bundle = runpy.run_path(str(_tests / "toy_bundle.py"))["write_bundle"]
Server = runpy.run_path(str(_tests / "server_process.py"))["Server"]

WORDS = "the a cat dog sat on mat and saw mar jo an el is in".split()  # noqa: SIM905
CLOSE = 1e-4
"""Candidates whose log-probabilities differ by less may change places."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=128)
    parser.add_argument("--bundles", help="directory of bundles; without it, toys")
    parser.add_argument("--checked", type=int, default=500, help="texts compared with those alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(arguments.bundles or Path(folder) / "bundles")
        if not arguments.bundles:
            write_bundle(bundles / "letters", seed=1)
            write_bundle(bundles / "translator", translates=True)
        home = Path(folder) / "home"
        home.mkdir()
        counts = load(bundles, home, arguments.requests, arguments.clients, arguments.checked)
    for name, count in sorted(counts.items()):
        print(f"{count:10}  {name}")
    wrong = [name for name, count in counts.items() if name.startswith("wrong") and count]
    sys.exit(f"error: {', '.join(wrong)}" if wrong else 0)


def load(bundles, home, requests, clients, checked):
    """Loads a server; returns counts by name, those of what must not be begin with `wrong`."""
    counts = collections.Counter({"requests": requests})
    opened = {path.parent.name: Bundle(path.parent) for path in bundles.glob("*/manifest.json")}
    choose = random.Random(0)
    asked = [body(choose, opened) for _ in range(requests)]
    with Server(bundles, home, ZOO_DRAIN_SECONDS="10", ZOO_MAX_QUEUE="1024") as server:
        found, answered = asyncio.run(send(server, asked, clients, counts))
    counts["wrong exit status"] = int(server.returned != 0)
    # The server writes a line at the end of each request; one that was left may not have begun.
    ends = collections.Counter(map(int, re.findall(r'"request_id": "(\d+)"', server.log())))
    counts["wrong number of ends"] = sum(ends[number] != 1 for number in answered)
    counts["wrong number of ends"] += sum(count > 1 for count in ends.values())
    for name, given, result in found[:checked]:
        counts["compared with the same alone"] += 1
        counts["wrong text"] += not is_alone(opened[name], given, result)
    return counts


def body(choose, opened):
    """A request: model, what is sent, and what the client does."""
    name = choose.choice(sorted(opened))
    text = " ".join(choose.choices(WORDS, k=choose.randint(1, 4)))
    given = {"model": name, "max_tokens": choose.randint(1, 24)}
    given["text" if opened[name].source_tokenizer else "prompt"] = text
    given |= choose.choice(
        [
            {},
            {"temperature": 0.9, "seed": choose.randint(0, 99)},
            {"temperature": 1.0, "top_k": 5, "seed": choose.randint(0, 99)},
            {"beam_size": 3, "n_best": 2},
            {"repetition_penalty": 1.2},
        ]
    )
    manner = choose.choices(["plain", "stream", "leaves", "malformed"], [10, 6, 2, 1])[0]
    return manner, given


async def send(server, asked, clients, counts):
    """Sends all, and SIGTERM when nearly all have been answered.

    Returns:
        The texts that came back, and the numbers of all requests that were answered.
    """
    found, answered, waiting = [], [], collections.deque(enumerate(asked))
    process = psutil.Process(server.process.pid)
    stop_at, early = len(asked) // 50, max(len(asked) * 4 // 5, 1)
    memory = {}

    async def client(http):
        while waiting:
            number, (manner, given) = waiting.popleft()
            if len(waiting) == early:
                memory["early"] = _memory(process)
            if len(waiting) == stop_at:
                memory["late"] = _memory(process)
                server.terminate()
            if await one(http, number, manner, given, counts, found):
                answered.append(number)

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=server.url, timeout=90, limits=limits) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    growth = memory["late"] - memory["early"]
    counts["MB of memory, early"] = round(memory["early"])
    counts["MB of memory, late"] = round(memory["late"])
    counts["wrong memory"] = int(growth > 50 + 0.1 * memory["early"])
    return found, answered


async def one(http, number, manner, given, counts, found):
    """Sends one request, in its manner; whether the server has answered it."""
    endpoint = "/translate" if "text" in given else "/generate"
    send = functools.partial(http.post, endpoint, headers={"X-Request-ID": str(number)})
    try:
        if manner == "malformed":
            answer = await send(json=given | {"max_tokens": "many"})
            counts["malformed, refused"] += 1
            counts["wrong status of malformed"] += answer.status_code not in (400, 503)
        elif manner == "leaves":
            await asyncio.wait_for(send(json=given | {"stream": True}), timeout=0.02)
            counts["answered before the client left"] += 1
        else:
            answer = await send(json=given | {"stream": manner == "stream"})
            if answer.status_code != 200:
                counts[f"refused with {answer.status_code}"] += 1
                counts["wrong status"] += answer.status_code not in (429, 503)
            elif manner == "stream":
                ended(given, answer.text, counts, found)
            else:
                (result,) = answer.json()["results"]
                counts["answered"] += 1
                found.append((given["model"], given, result))
    except TimeoutError:
        counts["left by the client"] += 1
        return False
    except httpx.TransportError:  # a server that goes down takes no connection
        counts["not accepted by a server going down"] += 1
        return False
    return True


def ended(given, text, counts, found):
    """Counts a stream, whose last event but [DONE] is the counts, or an error."""
    *frames, done, rest = text.split("\n\n")
    counts["wrong end of a stream"] += (done, rest) != ("data: [DONE]", "")
    if frames[-1].startswith("event: error"):
        counts["told midway that the server goes down"] += 1
        return
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames]
    results = [event["result"] for event in events if "result" in event]
    counts["streamed"] += 1
    counts["wrong number of results"] += len(results) != 1
    found.append((given["model"], given, results[0]))


def is_alone(bundle, given, result):
    """Whether a text is that of the same request alone, or as good where candidates tie."""
    names = set(given) - {"model", "text", "prompt"}
    options = Options(**{name: given[name] for name in names})
    tokenizer = bundle.tokenizer
    request = Request.of(
        tokenizer, given.get("prompt", ""), given.get("text"), options, bundle.source_tokenizer
    )
    (alone,) = generate(bundle, tokenizer, [request])
    if result["text"] == alone.text:
        return bool(np.allclose(result["log_probs"], alone.log_probs, atol=CLOSE))
    both = [result["token_ids"], alone.token_ids]
    (one, other) = score(bundle, tokenizer, [request, request], both)
    first = next(i for i, (a, b) in enumerate(zip(*both)) if a != b)
    return abs(one.log_probs[first] - other.log_probs[first]) < CLOSE


def _memory(process):
    """MB of the server and its workers."""
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 2**20


if __name__ == "__main__":
    main()
