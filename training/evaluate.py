"""Scores a model: python training/evaluate.py PRESET_OR_RUN [options]

Every token of the part counts once, each <eos> too, given what the model can know of the tokens
before it: over one long text a state of fixed size is carried through the whole of it, a model
without one sees overlapping windows, and each of many short texts is by itself. Translations are
scored by BLEU and chrF as well, whole texts against those that people wrote: greedy ones, beside
them those of a --beam-size, and with --plot by the length of the source.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

import zoo
from training import command_line, environment, inputs, recipe, translation
from training.data.pipelines import Planner, Streams
from training.recipe import Data, Texts, UserError
from zoo import presets
from zoo.bundle import Bundle
from zoo.contract import Decodable, log_softmax

Scores = dict[str, float]


def scorer(backbone, planner: Planner, characters: int) -> Callable[[], Scores]:
    """A function that scores a model as it is at the time of each call.

    Args:
        backbone: the model.
        planner: of whose first pass each target counts.
        characters: of the text that the targets are, for the bits per character.

    Returns:
        A function that gives `nats` (mean negative log-likelihood of a token), `perplexity`,
        `bits_per_character`, and `top_1` and `top_5` accuracy from 0 to 1.
    """
    from training import carried, losses

    model = carried.wrap(backbone, planner)
    model.compile(
        loss=losses.cross_entropy(),
        weighted_metrics=losses.metrics(),
        jit_compile=environment.jit_compile(),
    )
    steps = planner.steps_per_pass
    batches = carried.dataset(planner, stop=steps)

    def score() -> Scores:
        logs = model.evaluate(batches, steps=steps, verbose=0, return_dict=True)
        return _scores(logs, planner, characters)

    return score


def adapt(backbone, planner: Planner, characters: int, learning_rate: float) -> Scores:
    """Dynamic evaluation: the model goes on learning from what it has been scored on.

    Tomas Mikolov et al., "Recurrent neural network based language model", 2010, section 2: after
    each batch one step of stochastic gradient descent. A batch is scored before its step. Without
    dropout. The weights of the model change.

    Args:
        backbone, planner, characters: as for `scorer`; the paper has one row.
        learning_rate: the paper's alpha, 0.1.
    """
    import keras

    from training import carried, losses

    class Adapting(keras.Model):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def call(self, inputs):
            return self.model(inputs, training=False)

    model = Adapting(carried.wrap(backbone, planner))
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate),
        loss=losses.cross_entropy(),
        weighted_metrics=losses.metrics(),
        jit_compile=environment.jit_compile(),
    )
    steps = planner.steps_per_pass
    batches = carried.dataset(planner, stop=steps)
    history = model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0).history
    return _scores({name: values[-1] for name, values in history.items()}, planner, characters)


def decodable_scores(model: Decodable, planner: Planner, characters: int) -> Scores:
    """The scores of a bundle, or of anything that decoders can run, as `scorer` gives them.

    Args:
        model: what reads.
        planner, characters: as for `scorer`.
    """
    sums = dict.fromkeys(("nats", "top_1", "top_5"), 0.0)
    state = None
    for x, y, weight in planner.one_pass():
        if state is None or not isinstance(planner, Streams):
            state = model.start(x.get("encoder_token_ids", len(y)))
        logits, state = model.step(x["token_ids"], state)
        logits, targets = logits[weight > 0], y[weight > 0, None]
        own = np.take_along_axis(logits, targets, axis=1)
        better = (logits > own).sum(axis=1)
        sums["nats"] -= float(np.take_along_axis(log_softmax(logits), targets, axis=1).sum())
        sums["top_1"] += int((better < 1).sum())
        sums["top_5"] += int((better < 5).sum())
    means = {name: total / planner.targets_per_pass for name, total in sums.items()}
    return _scores(means, planner, characters)


def _scores(logs, planner: Planner, characters: int) -> Scores:
    nats = logs["nats"]
    return {
        "nats": nats,
        "perplexity": math.exp(min(nats, 700.0)),
        "bits_per_character": nats / math.log(2) * planner.targets_per_pass / characters,
        "top_1": logs["top_1"],
        "top_5": logs["top_5"],
    }


# === Command line ===


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to score, on what, and how."""

    model: tyro.conf.Positional[str]
    """A run directory, a preset directory, or a preset's name."""
    texts: tyro.conf.OmitArgPrefixes[Texts]
    part: Literal["train", "valid", "test"] | None = None
    """Part of the data; None for the test part, or the last that there is."""
    rows: int | None = None
    """Rows a batch; None for 64, or for 1 where a state is carried, which nothing breaks then."""
    window: int = 64
    """Tokens a row of one long text; for a model that carries no state, all that it sees."""
    stride: int | None = None
    """Without a carried state, how many tokens each window adds; None for half a window."""
    dynamic: float | None = None
    """Dynamic evaluation: go on learning from what has been scored, at this learning rate."""
    dtype: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras's dtype policy."""
    plot: Path | None = None
    """A PNG to draw in it BLEU by the length of the source."""
    output: Path | None = None
    """A file to write the translations to, one a line."""
    bundle: Path | None = None
    """An exported bundle of the model, to be scored in its place."""
    json: bool = False
    """Print the scores as one line of JSON."""
    decoding: tyro.conf.OmitArgPrefixes[command_line.Decoding] = field(
        default_factory=lambda: command_line.Decoding(max_tokens=translation.MAX_TOKENS)
    )
    """How translations are found."""


def exact(data: inputs.Inputs, part: str, network, window: int, rows=None, stride=None) -> Planner:
    """The batches in which each token is given the most that the model can know before it."""
    from training import carried

    carries = carried.can_carry(network)
    rows = rows or (1 if carries and data.corpus.kind == "stream" else 64)
    return data.held_out(part, carries, rows, window, stride or max(1, window // 2))


def main() -> None:
    """Prints the scores that the command line asks for."""
    first = next(iter(sys.argv[1:]), "--help")
    if first.startswith("-") and first not in ("-h", "--help"):
        raise UserError(f"the model comes first, before {first}")
    path = presets.find(first) / "recipe.toml"
    default = Options(model=tyro.MISSING, texts=Texts(data=tyro.MISSING))
    if path.is_file():  # the defaults are what the model was trained on
        trained = recipe.saved(path, Data)
        texts = recipe.saved(path, Texts)
        default = Options(model=tyro.MISSING, texts=texts, window=trained.window)
    options = tyro.cli(Options, default=default, description=__doc__)
    if options.bundle and options.dynamic is not None:
        raise UserError("--dynamic is for a model in Keras: leave out --bundle")
    corpus = inputs.read(options.texts)
    part = options.part or corpus.scored
    environment.prepare()
    environment.configure(dtype=options.dtype)

    task = zoo.load(options.model)
    if (corpus.kind == "pairs") != bool(task.source_tokenizer):
        raise UserError(f"{options.model} does not read what {corpus.name} has: name other --data")
    data = inputs.Inputs(corpus, task.tokenizer, task.source_tokenizer)
    planner = exact(
        data,
        part,
        task.backbone.network,
        **{name: getattr(options, name) for name in ("window", "rows", "stride")},
    )
    characters = data.characters(part)
    model = Bundle(options.bundle) if options.bundle else task
    if options.bundle:
        scores = decodable_scores(model, planner, characters)
    elif options.dynamic is None:
        scores = scorer(task.backbone, planner, characters)()
    else:
        scores = adapt(task.backbone, planner, characters, options.dynamic)
    about = f"the {part} part of {corpus.name} (split {corpus.split}, sha256 {corpus.hash[:12]})"
    of_ways, bands = {}, []
    if corpus.kind == "pairs":
        of_ways, bands = score_translations(model, getattr(corpus, part), corpus.lowercase, options)
    if options.json:
        for number, (way, quality) in enumerate(of_ways.items()):
            prefix = f"{way}_" if number else ""
            scores |= {f"{prefix}{name}": value for name, value in quality.scores.items()}
        print(json.dumps({"data": about, **scores}))
        return
    print(f"{options.model} on {about}")
    print(f"{planner.targets_per_pass} tokens of {task.tokenizer}, each <eos> counted")
    for name, value in scores.items():
        print(f"{name:<19} {value:.4f}")
    for way, quality in of_ways.items():
        print(
            f"{way:<19} BLEU {quality.bleu:.2f}, lower-cased {quality.bleu_lowercase:.2f}, "
            f"chrF {quality.chrf:.2f}"
        )
    for quality in [*of_ways.values()][:1]:
        print(f"{'BLEU':<19} {quality.signature}")
        print(f"{'lower-cased':<19} {quality.signature_lowercase}")
        print(f"{'chrF':<19} {quality.chrf_signature}")
    for band in bands:
        print(f"{band.first:>3} to {band.last:>3} words, {band.count:>5}: BLEU {band.bleu:.2f}")


def score_translations(
    model, pairs: list[tuple[str, str]], lowercase: bool, options: Options
) -> tuple[dict[str, translation.Quality], list[translation.Band]]:
    """Translates the sources in each way, and writes the files that were asked for.

    Returns:
        The quality of each way, and where a plot was asked for the BLEU by length that is in it.
    """
    sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
    of_ways: dict[str, translation.Quality] = {}
    bands: list[translation.Band] = []
    for name, way in translation.ways(options.decoding).items():
        outputs = translation.outputs(model, sources, way)
        of_ways[name] = translation.quality(outputs, references)
    if options.output:
        options.output.write_text("".join(f"{text}\n" for text in outputs), encoding="utf-8")
    if options.plot:
        from matplotlib.figure import Figure  # not pyplot, which looks for a screen

        bands = translation.by_length(sources, outputs, references, lowercase)
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        translation.draw_by_length(figure.subplots(), {options.model: bands})
        figure.savefig(options.plot, dpi=120)
    return of_ways, bands


if __name__ == "__main__":
    with environment.one_line_errors():
        main()
