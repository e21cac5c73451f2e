"""Trains a model by a recipe: KERAS_BACKEND=jax python training/run.py --recipe NAME [options]

What a run makes lies in `runs/NAME`: the recipe as resolved, versions, log, history, curves, the
weights as a preset, and a row of results. The same command goes on where the run was stopped.
"""

import logging
import math
import shutil
import sys
from datetime import UTC, datetime
from typing import Any

from training import distribution, environment, inputs, recipe, results
from training.directory import RunDirectory
from training.recipe import UserError

log = logging.getLogger("training")


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    options = recipe.parse(arguments)
    environment.prepare(options.deterministic)
    data = inputs.load(options.text)
    if options.results:
        results.check(options.results, results.columns(data.corpus.kind == "pairs"))
    directory = RunDirectory(options)
    with directory.claimed():
        directory.start_log()
        if directory.has_finished():
            log.info("%s has finished: --epochs for more, --restart for anew", directory.path)
            if options.results:
                results.put(options.results, results.read(directory.results)[0])
            return
        environment.configure(options.seed, options.dtype, options.deterministic)
        with distribution.scope(options):
            best, rows = train(options, data, directory)
        if directory.writes:
            finish(options, data, directory, best, rows)


def train(options: Any, data: inputs.Inputs, directory: RunDirectory) -> tuple[list, list]:
    """Trains a new model, or goes on from the checkpoint.

    Returns:
        The files of the best weights, the best first, and the rows of the history.
    """
    from training import networks

    task = networks.make(options.model, data)
    devices = distribution.devices()
    log.info(
        "%s: %s with %s parameters and %s tokens, on %s and %s%s",
        directory.path,
        options.model.architecture,
        f"{task.backbone.count_params():,}",
        f"{data.tokenizer.vocabulary_size:,}",
        environment.backend(),
        environment.hardware(),
        f", shared among {devices} devices" if devices > 1 else "",
    )
    if hasattr(task.backbone.network, "adapt"):  # it counts, once, and has no gradient
        return count(task, data, directory)
    return fit(task, options, data, directory)


def count(task, data: inputs.Inputs, directory: RunDirectory) -> tuple[list, list]:
    """Fits a model that counts."""
    from training import checkpoints

    network = task.backbone.network
    network.adapt(data.sequences("train"))
    checkpoints.write(directory.best / "counted.h5", checkpoints.values(network.weights))
    return [directory.best / "counted.h5"], []


def fit(task, options: Any, data: inputs.Inputs, directory: RunDirectory) -> tuple[list, list]:
    """Fits a model by gradient descent."""
    import keras

    from training import callbacks, carried, losses, optimizers, schedules, translation
    from training.checkpoints import Checkpoint
    from training.evaluate import scorer

    backbone, text = task.backbone, options.text
    can_carry = carried.can_carry(backbone.network)
    if text.crops == "carried" and not can_carry:
        raise UserError(
            f"--crops carried: {options.model.architecture} has no state that could; leave it out"
        )
    carries = text.crops in (None, "carried") and can_carry
    planner = data.training(text, options.seed, carries)
    if planner.left_out:
        log.info("%d texts are longer than --max-length and left out", planner.left_out)
    steps = options.steps_per_epoch or planner.steps_per_pass
    rate = schedules.make(options.schedule, options.optimizer.learning_rate, options.epochs * steps)
    model = losses.Trained(carried.wrap(backbone, planner))
    model.compile(
        optimizer=optimizers.make(options.optimizer, rate, model),
        loss=distribution.over_replicas(losses.cross_entropy(options.label_smoothing)),
        jit_compile=environment.jit_compile(),
    )
    model.optimizer.build(model.trainable_variables)

    if options.monitor == "bleu" and data.corpus.kind != "pairs":
        raise UserError(f"--monitor bleu is for translations, and {data.corpus.name} has none")
    use_ema = options.optimizer.ema_momentum is not None
    validation = data.held_out("valid", carries, text.batch_size, text.window)
    score = scorer(backbone, validation, data.characters("valid"))
    pairs = data.corpus.valid[: options.bleu_sentences]

    def score_translations():
        return {**score(), "bleu": translation.score(task, pairs).bleu}

    validate = callbacks.Validate(
        backbone.network,
        score_translations if options.monitor == "bleu" else score,
        directory.best,
        options.keep,
        use_ema,
        directory.writes,
        callbacks.ranking(options),
    )
    tokens_per_step = planner.targets_per_pass / planner.steps_per_pass
    history = callbacks.History(directory.history, tokens_per_step, directory.writes)
    noting = [validate, *callbacks.chosen(options), history]
    checkpoint = Checkpoint(
        directory.checkpoint,
        noting,
        about={"data": data.corpus.hash, "backend": environment.backend()},
        writes=directory.writes,
        then=validate.drop_others,
    )
    done, stopped = checkpoint.restore(model)
    distribution.check_equal(done, data.corpus.hash)
    if done > options.epochs:
        raise UserError(
            f"{directory.path} has {done} epochs: ask for --epochs {done} or more, or --restart"
        )
    if done:
        log.info("going on after epoch %d", done)
    if not stopped and done < options.epochs:
        shown: list[keras.callbacks.Callback] = []
        if options.samples and options.distribution == "none":
            prompts = data.prompts(options.samples, options.prompt)
            length = min(options.sample_length, backbone.network.max_length or math.inf)
            shown.append(callbacks.Samples(task, prompts, length, options.seed, use_ema))
        if options.tensorboard and directory.writes:
            shown.append(keras.callbacks.TensorBoard(directory.tensorboard, write_graph=False))
        first = [callbacks.Seed(options.seed), callbacks.Progress()]
        with callbacks.Interrupt() as interrupt:
            model.fit(
                carried.dataset(planner, start=done * steps),
                initial_epoch=done,
                epochs=options.epochs,
                steps_per_epoch=steps,
                callbacks=[*first, *noting, *shown, checkpoint, interrupt],
                shuffle=False,  # the planner has
                verbose=0,
            )
    return validate.files, history.rows


def finish(
    options: Any, data: inputs.Inputs, directory: RunDirectory, best: list, rows: list
) -> None:
    """Saves the best weights, or their mean, as a preset, scores that, and notes the results."""
    from training import checkpoints, networks, translation
    from training.evaluate import exact, scorer
    from zoo import presets

    # Made anew, since what was trained may lie on several devices.
    task = networks.make(options.model, data)
    arrays = checkpoints.mean(best if options.average else best[:1])
    checkpoints.assign(task.backbone.network.weights, arrays)
    presets.save(task, directory.preset)
    shutil.copy(directory.recipe, directory.preset)
    scores: dict[str, Any] = {}
    parts = [part for part in ("valid", "test") if getattr(data.corpus, part)] or ["train"]
    for part in parts:
        planner = exact(data, part, task.backbone.network, options.text.window)
        found = scorer(task.backbone, planner, data.characters(part))()
        if data.corpus.kind == "pairs" and part == parts[-1]:  # translating takes a while
            quality = translation.score(task, getattr(data.corpus, part))
            found |= quality.scores
            scores["signature"] = quality.signature
        log.info("%s: %s (%s)", part, results.show(found), data.tokenizer)
        scores |= {f"{part}_{name}": value for name, value in found.items()}
    if rows:
        results.draw(rows, directory.curves)
    row = {
        "run": directory.path.name,
        "architecture": options.model.architecture,
        "backend": environment.backend(),
        "data": data.corpus.name,
        "split": data.corpus.split,
        "data_sha256": data.corpus.hash,
        "tokenizer": data.tokenizer.mode,
        "vocabulary_size": data.tokenizer.vocabulary_size,
        "parameters": task.backbone.count_params(),
        "seed": options.seed,
        "epochs": options.epochs,
        "steps": rows[-1]["step"] if rows else 0,
        **scores,
        "seconds": rows[-1]["seconds"] if rows else 0,
        "hardware": environment.hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": environment.command(),
    }
    directory.results.unlink(missing_ok=True)
    for path in filter(None, (options.results, directory.results)):
        results.put(path, row)


if __name__ == "__main__":
    with environment.one_line_errors(
        "stopped: the same command goes on after the last whole epoch"
    ):
        main(sys.argv[1:])
