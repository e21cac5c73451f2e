"""The engine alone: texts come and go, and none depends on the others."""

import asyncio
import contextlib
import runpy
import threading
from pathlib import Path

import prometheus_client
import pytest

from serving.call import Call
from serving.engine import Engine
from serving.errors import DeadlineExceeded, EngineFailed, QueueFull, Stopping
from serving.limits import Limits
from serving.metrics import Metrics
from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate, next_in_parts

write_bundle = runpy.run_path(str(Path(__file__).parents[1] / "toy_bundle.py"))["write_bundle"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    letters = Bundle(write_bundle(folder / "letters", seed=1))
    translator = Bundle(write_bundle(folder / "translator", translates=True))
    return {"letters": letters, "translator": translator}


@pytest.fixture(scope="module")
def metrics():
    return Metrics(prometheus_client.CollectorRegistry())


@pytest.fixture
def run(bundles, metrics):
    """Runs a coroutine function with an engine."""

    def run(using, models=bundles, **limits):
        async def main():
            engine = Engine(models, Limits(**limits), metrics)
            engine.start()
            try:
                return await asyncio.wait_for(using(engine), 60)
            finally:
                await asyncio.to_thread(engine.stop)

        return asyncio.run(main())

    return run


def endless(**options):
    """Options of a text that does not end by itself."""
    return Options(suppress_ids=(1,), max_tokens=100_000, **options)


def call(bundles, prompts, model="letters", streams=False, seconds=60.0, **options):
    bundle = bundles[model]
    sources = [None if bundle.source_tokenizer is None else f"a cat {p}" for p in prompts]
    requests = [
        Request.of(bundle.tokenizer, prompt, source, Options(**options))
        for prompt, source in zip(prompts, sources)
    ]
    return Call(model, seconds, requests, streams=streams)


MIXED = [
    {},
    {"max_tokens": 3},
    {"temperature": 1.0, "seed": 4, "max_tokens": 60},
    {"temperature": 0.7, "seed": 5, "top_k": 4, "max_tokens": 40},
    {"beam_size": 3, "n_best": 2, "max_tokens": 20},
    {"repetition_penalty": 1.3, "max_tokens": 50},
    {"stop": ("a",), "min_tokens": 5},
]


def test_a_text_does_not_depend_on_its_neighbours(bundles, run):
    """Few rows and small parts, so that everything joins and leaves while others run."""
    asked = [
        (model, "the cat sat on the mat " * (i % 3), options)
        for i in range(6)
        for options in MIXED
        for model in ("letters", "translator")
    ]

    async def using(engine):
        calls = [call(bundles, [text], model, **options) for model, text, options in asked]
        return await asyncio.gather(*(engine.submit(c).results() for c in calls))

    got = run(using, max_rows=5, max_beams=3, prefill_tokens=7)
    for (model, text, options), (result,) in zip(asked, got, strict=True):
        (request,) = [r for _, r in call(bundles, [text], model, **options).requests]
        (alone,) = generate(bundles[model], bundles[model].tokenizer, [request])
        assert result.text == alone.text
        assert result.token_ids == alone.token_ids
        assert result.log_probs == pytest.approx(alone.log_probs, abs=1e-5)
        assert [o.text for o in result.alternatives] == [o.text for o in alone.alternatives]


def test_pieces_are_the_text(bundles, run):
    async def using(engine):
        asked = call(bundles, ["a", "b"], streams=True, max_tokens=9)
        return [event async for events in engine.submit(asked).pieces() for event in events]

    events = run(using)
    for number in (0, 1):
        pieces = [piece for index, piece in events if index == number]
        assert "".join(piece.text for piece in pieces) == pieces[-1].result.text
        assert tuple(piece.token_id for piece in pieces) == pieces[-1].result.token_ids


def test_who_is_slow_to_ask_gets_some_at_a_time(bundles, run):
    """What waits for a client that has slept is not handed on in one go, and nothing is lost."""

    async def using(engine):
        asked = call(bundles, ["a"] * 8, streams=True, max_tokens=100, suppress_ids=(1,))
        engine.submit(asked)
        await engine.submit(call(bundles, ["a"], max_tokens=150, suppress_ids=(1,))).results()
        return [len(events) async for events in asked.pieces()]

    counts = run(using)
    assert sum(counts) == 800
    assert max(counts) <= 64


def test_short_texts_pass_a_long_one(bundles, run):
    """One joins while the other runs, and ends before it."""

    async def using(engine):
        long = Call("letters", 60, [Request((1,), options=endless())], streams=True)
        long = engine.submit(long).pieces()
        await anext(long)
        short = await engine.submit(call(bundles, ["a"], max_tokens=5)).results()
        assert await anext(long)
        await long.aclose()
        return short

    assert run(using)[0].text


def test_http_requests_take_turns(bundles, run):
    """One of many texts does not keep another waiting until all of its own are written."""

    async def using(engine):
        ended = []

        async def write(name, count):
            asked = call(bundles, ["a"] * count, streams=False, max_tokens=20, min_tokens=20)
            await engine.submit(asked).results()
            ended.append(name)

        await asyncio.gather(write("many", 40), write("one", 1))
        return ended

    assert run(using, max_rows=4, max_beams=4) == ["one", "many"]


def test_a_cancelled_text_makes_room(bundles, run):
    async def using(engine):
        running = engine.submit(Call("letters", 60, [Request((1,), options=endless())]))
        task = asyncio.create_task(running.results())
        waiting = asyncio.create_task(engine.submit(call(bundles, ["a"], max_tokens=3)).results())
        await asyncio.sleep(0)
        assert not waiting.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return await waiting

    assert len(run(using, max_rows=1, max_beams=1)[0].token_ids) <= 3


def test_deadline(bundles, run):
    async def using(engine):
        asked = Call("letters", 0.05, [Request((1,), options=endless())])
        with pytest.raises(DeadlineExceeded):
            await engine.submit(asked).results()
        return await engine.submit(call(bundles, ["a"])).results()

    assert run(using)


def test_every_call_ends_once(bundles, run):
    """Answered, left at some token, or too late: one end, and no place of the queue is lost."""
    ends: dict[Call, list] = {}

    class Watched(Call):
        def receive(self, event):
            if event is None or isinstance(event, Exception):
                ends.setdefault(self, []).append(event)
            super().receive(event)

    async def use(engine, number):
        options = endless() if number % 3 else Options(max_tokens=number)
        seconds = 0.02 * number if number % 3 == 1 else 60
        asked = Watched("letters", seconds, [Request((1,), options=options)] * 2, streams=True)
        with contextlib.suppress(DeadlineExceeded):
            async with contextlib.aclosing(engine.submit(asked).pieces()) as arrivals:
                async for _ in arrivals:
                    if number % 3 == 2:
                        break
        return asked

    async def using(engine):
        calls = await asyncio.gather(*(use(engine, number) for number in range(3, 33)))
        await engine.submit(call(bundles, ["a"])).results()  # at whose end all have been seen to
        return calls, engine

    calls, engine = run(using, max_rows=4, max_beams=4)
    assert [len(ends[asked]) for asked in calls] == [1] * 30
    assert sum(isinstance(end, DeadlineExceeded) for (end,) in ends.values()) == 10
    assert engine._waiting == 0


def test_a_full_queue_refuses_at_once(bundles, run):
    async def using(engine):
        many = engine.submit(call(bundles, ["a"] * 64, max_tokens=500, min_tokens=400))
        with pytest.raises(QueueFull):
            engine.submit(call(bundles, ["a"] * 4))
        many.cancel()

    run(using, max_queue=64, max_rows=1, max_beams=1)


def test_what_fails_is_told_to_all_and_the_model_begins_anew(bundles, run, monkeypatch):
    """A call that comes after it is answered; the other model does not notice."""
    step, fails = Bundle.step, threading.Event()

    def failing(self, *args, **kwargs):
        if fails.is_set() and self is bundles["letters"]:
            raise RuntimeError("secret")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Bundle, "step", failing)

    async def using(engine):
        other = engine.submit(call(bundles, [""], "translator", max_tokens=50)).results()
        calls = [
            engine.submit(Call("letters", 60, [Request((1,), options=endless())], streams=i == 0))
            for i in range(6)
        ]
        await anext(calls[0].pieces())
        fails.set()
        for one in calls[1:]:
            with pytest.raises(EngineFailed, match="begins anew"):
                await one.results()
        fails.clear()
        assert await engine.submit(call(bundles, ["a"])).results()
        assert await other

    run(using, max_rows=3, max_beams=3)


def test_a_model_that_does_not_answer_is_named(bundles, run, monkeypatch, caplog):
    """The service never is ready, since not every model has answered."""
    step = Bundle.step

    def failing(self, *args, **kwargs):
        if self is bundles["letters"]:
            raise RuntimeError("damaged")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Bundle, "step", failing)

    async def using(engine):
        assert await engine.submit(call(bundles, [""], "translator")).results()
        assert not engine.is_ready

    run(using)
    assert "model letters does not answer" in caplog.text


def test_draining_lets_what_runs_end_and_refuses_what_is_new(bundles, run):
    async def using(engine):
        short = engine.submit(call(bundles, ["a"], max_tokens=20))
        long = engine.submit(Call("letters", 60, [Request((1,), options=endless())]))
        engine.drain()
        with pytest.raises(Stopping):
            engine.submit(call(bundles, ["a"]))
        assert await short.results()
        with pytest.raises(Stopping):
            await long.results()

    run(using, drain_seconds=0.3)


def test_reading_beside_writing(bundles, run):
    async def using(engine):
        long = engine.submit(Call("letters", 60, [Request((1,), options=endless())], streams=True))
        await anext(long.pieces())
        request = Request.of(bundles["letters"].tokenizer, "the cat " * 20)
        work = lambda model, size: next_in_parts(model, request, 3, size)  # noqa: E731
        return await engine.submit(Call("letters", 60, work=work)).result()

    request = Request.of(bundles["letters"].tokenizer, "the cat " * 20)
    (got,) = run(using, prefill_tokens=16)
    ids, log_probs = bundles["letters"].step(
        [request.prompt_ids], bundles["letters"].start(1), want=3
    )[0]
    assert [token_id for token_id, _ in got] == ids[0].tolist()
    assert [log_prob for _, log_prob in got] == pytest.approx(log_probs[0].tolist(), abs=1e-5)


# === Limits ===


def test_limits_come_from_a_file_and_variables(tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text("max_rows = 7\nmax_beams = 4\n")
    limits = Limits.load({"ZOO_CONFIG": str(file), "ZOO_MAX_ROWS": "9", "ZOO_DRAIN_SECONDS": "1.5"})
    assert (limits.max_rows, limits.max_beams, limits.drain_seconds) == (9, 4, 1.5)


@pytest.mark.parametrize(
    ("content", "environment", "message"),
    [
        ("max_row = 7", {}, "no limits.*max_row.*there are max_rows"),
        ("max_rows = 'a'", {}, "max_rows must be a number above 0, not 'a'"),
        ("max_rows = [", {}, "ZOO_CONFIG: "),
        ("", {"ZOO_MAX_ROWS": "x"}, "ZOO_MAX_ROWS must be a number, not 'x'"),
        ("", {"ZOO_MAX_ROWS": "0"}, "max_rows must be a number above 0, not 0"),
        ("max_rows = 4", {}, "max_beams must be at most max_rows, which is 4"),
    ],
)
def test_limits_that_are_none(tmp_path, content, environment, message):
    file = tmp_path / "limits.toml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        Limits.load({"ZOO_CONFIG": str(file), **environment})
