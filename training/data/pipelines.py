"""Batches of token ids in an order that is a pure function of the seed and of the step.

A planner says what any step of training sees, by its number alone, so that a run can stop and go
on anywhere. A pass (epoch) goes once through the data: every token, `<eos>` at the end of each
text included, is a target with weight 1 exactly once in it. Shapes are few, since XLA compiles a
program for each.

A batch is `(x, y, sample_weight)`, as `keras.Model.fit` takes it: `x` is a dict of int32 ids,
`y` `(batch, time)` int32 the id that comes next, `sample_weight` `(batch, time)` float32 0 or 1.
A Keras loss that is to be the mean over tokens needs `reduction="mean_with_sample_weight"`.

| planner     | for                            | a row of a batch is                              |
|-------------|--------------------------------|--------------------------------------------------|
| `Sequences` | short texts                    | one text, padded with 0 on the right             |
| `Pairs`     | sources and their translations | one pair, both padded to one length              |
| `Streams`   | truncated back-propagation     | the next `window` tokens of the row's own stream |
| `Windows`   | models that carry no state     | `window` tokens from anywhere in the text        |
| `Strided`   | to score those                 | as many, of which the last `stride` count        |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.data.corpora import lines
from training.data.download import DataError
from zoo.command_line import UserError
from zoo.tokenizers import EOS_ID, PAD_ID, Tokenizer

if TYPE_CHECKING:
    import tensorflow as tf

Ids = npt.NDArray[np.int32]
Batch = tuple[dict[str, Ids], Ids, npt.NDArray[np.float32]]


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """The ids of each text, each an int32 array `(tokens,)` without `<eos>`."""
    ids = []
    for start in tqdm(range(0, len(texts), 1024), "tokenise", delay=1, leave=False):
        for row in tokenizer.encode_batch(texts[start : start + 1024]):
            ids.append(np.array(row, "int32"))
    return ids


def token_stream(tokenizer: Tokenizer, documents: Sequence[str]) -> Ids:
    """All documents as one stream of targets `(tokens,)`, an `<eos>` after each.

    In the tokenizer mode `whitespace` each line is a document, as Penn Treebank and WikiText are
    counted; what comes before the first token is an `<eos>` that is not itself in the stream.
    """
    if tokenizer.mode == "whitespace":
        documents = [line for document in documents for line in lines(document)]
        rows = tokenize(tokenizer, documents)
    else:
        rows = [np.array(tokenizer.encode(document), "int32") for document in documents]
    end = np.array([EOS_ID], "int32")
    return np.concatenate([piece for row in rows for piece in (row, end)] or [end[:0]])


class Planner(ABC):
    """What each step sees. Steps count from 0 over all passes: step `s` is in pass
    `s // steps_per_pass`.

    Attributes:
        steps_per_pass: the same for every pass.
        targets_per_pass: the sum of the weights of a pass.
        longest: tokens of the longest row of a batch.
        left_out: texts that are too long.
    """

    steps_per_pass: int
    targets_per_pass: int
    longest: int
    left_out = 0

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0 on; the same whenever it is asked for."""

    def one_pass(self) -> Iterator[Batch]:
        """The batches of the first pass, as an evaluation wants them."""
        return (self.batch(step) for step in range(self.steps_per_pass))

    def dataset(self, start: int = 0, stop: int | None = None) -> "tf.data.Dataset":
        """The batches from step `start` on as a `tf.data.Dataset`, made ahead of their use.

        Args:
            start: the first step; any one is reached at once.
            stop: the step to end before; None for no end.
        """
        import tensorflow as tf

        def steps():
            step = start
            while stop is None or step < stop:
                yield self.batch(step)
                step += 1

        x, y, weight = self.batch(start)
        signature = (
            {name: tf.TensorSpec(self._shape, ids.dtype) for name, ids in x.items()},
            tf.TensorSpec(self._shape, y.dtype),
            tf.TensorSpec(self._shape, weight.dtype),
        )
        return tf.data.Dataset.from_generator(steps, output_signature=signature).prefetch(2)

    @property
    @abstractmethod
    def _shape(self) -> tuple[int | None, int | None]:
        """`(batch, time)`, None for what varies from batch to batch; for each planner to say."""


class Sequences(Planner):
    """One text a row: from `<eos> t1 .. tn` to `t1 .. tn <eos>`, padded with 0 on the right.

    Each pass is shuffled anew. Texts of about one length are put together: a row is padded to the
    first of a few lengths that it fits. What does not fill the last batch of a length goes on into
    the next length, so that only one batch of a pass can have rows of nothing but padding.

    Args:
        rows: the ids of each text, without `<eos>`, as `tokenize` gives them.
        batch_size: rows a batch, whatever their length.
        batch_tokens: instead of `batch_size`: tokens a batch, padding included; a batch of length
            `l` has `batch_tokens // l` rows, at least one.
        buckets: how many lengths there are to pad to: those that together pad the least.
        max_length: texts with more tokens, an `<eos>` counted, are left out; `None`: none are.
        seed: of the order of the rows.
        shuffle: False for the order of their lengths, the same in every pass.

    Raises:
        DataError: there are no rows, or none is short enough.
    """

    def __init__(
        self,
        rows: Sequence[Ids],
        batch_size: int | None = None,
        *,
        batch_tokens: int | None = None,
        buckets: int = 4,
        max_length: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
    ):
        if (batch_size is None) == (batch_tokens is None):
            raise ValueError("give either batch_size or batch_tokens")
        self._rows, self._seed, self._shuffle = rows, seed, shuffle
        lengths = self._lengths()
        most = lengths.max(initial=0) if max_length is None else max_length
        self._kept = np.flatnonzero(lengths <= most)
        self.left_out = len(lengths) - len(self._kept)
        if not len(self._kept):
            raise DataError("there is no text to make batches of, or all of it is too long")
        self._boundaries = padding_least(lengths[self._kept], buckets)
        self.longest = self._boundaries[-1]
        self._bucket = np.searchsorted(self._boundaries, lengths)
        self._batch_sizes = [
            batch_size or max(1, (batch_tokens or 0) // boundary) for boundary in self._boundaries
        ]
        self.targets_per_pass = sum(len(rows[row]) + 1 for row in self._kept.tolist())
        self._pass = lru_cache(maxsize=2)(self._make_pass)
        self.steps_per_pass = len(self._pass(0))

    def batch(self, step: int) -> Batch:
        y = self._padded(self._rows, step)
        before = np.pad(y[:, :-1], [(0, 0), (1, 0)], constant_values=EOS_ID)
        x = np.where(y == PAD_ID, PAD_ID, before)
        return {"token_ids": x}, y, (y != PAD_ID).astype("float32")

    def _lengths(self) -> npt.NDArray[np.intp]:
        """What each row needs, with its `<eos>`."""
        return np.array([len(row) + 1 for row in self._rows], "int64")

    def _padded(self, rows: Sequence[Ids], step: int) -> Ids:
        """`(batch, time)`: the texts of a step, each with an `<eos>` after it."""
        number, index = divmod(step, self.steps_per_pass)
        bucket, chosen = self._pass(number)[index]
        padded = np.full((self._batch_sizes[bucket], self._boundaries[bucket]), PAD_ID, "int32")
        for line, row in zip(padded, chosen):  # the last batch may have more lines than texts
            size = len(rows[row])
            line[:size] = rows[row]
            line[size] = EOS_ID
        return padded

    @property
    def _shape(self) -> tuple[int | None, int | None]:
        sizes, lengths = set(self._batch_sizes), self._boundaries
        return sizes.pop() if len(sizes) == 1 else None, lengths[0] if len(lengths) == 1 else None

    def _make_pass(self, number: int) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """The batches of a pass, each as its bucket and its rows."""
        rng = np.random.default_rng((self._seed, number))
        rows = rng.permutation(self._kept) if self._shuffle else self._kept
        batches = []
        waiting = rows[:0]
        for bucket, size in enumerate(self._batch_sizes):
            waiting = np.concatenate([waiting, rows[self._bucket[rows] == bucket]])
            full = len(waiting) - len(waiting) % size
            batches += [(bucket, waiting[i : i + size]) for i in range(0, full, size)]
            waiting = waiting[full:]
        if len(waiting):
            batches.append((bucket, waiting))
        order = rng.permutation(len(batches)) if self._shuffle else range(len(batches))
        return [batches[i] for i in order]


def padding_least(lengths: npt.NDArray[np.intp], count: int) -> list[int]:
    """The `count` lengths to pad rows of `lengths` to that pad the least; fewer where fewer differ.

    With k of them, the first i lengths take the fewest slots where the shortest j of them have
    k - 1, and the others are padded to the longest: the best j for each i comes from those of
    k - 1 (dynamic programming).
    """
    distinct, rows = np.unique(lengths, return_counts=True)
    up_to = np.concatenate([[0], np.cumsum(rows)])
    slots, cuts = np.append(0.0, np.full(len(distinct), np.inf)), []
    for _ in range(min(count, len(distinct))):
        costs = (
            slots[: i + 1] + length * (up_to[i + 1] - up_to[: i + 1])
            for i, length in enumerate(distinct)
        )
        best, fewest = zip(*((int(cost.argmin()), cost.min()) for cost in costs))
        slots = np.append(np.inf, fewest)
        cuts.append(best)
    boundaries, i = [], len(distinct)
    for best in reversed(cuts):
        boundaries.append(int(distinct[i - 1]))
        i = best[i - 1]
    return boundaries[::-1]


class Pairs(Sequences):
    """One pair a row: `x` has `encoder_token_ids`, the source and an `<eos>`, and `token_ids`.

    `token_ids` and the targets are those of `Sequences` for the translation; both sides of a
    batch are padded to one length, that which the longer side needs. The options are those of
    `Sequences`.
    """

    def __init__(
        self,
        sources: Sequence[Ids],
        targets: Sequence[Ids],
        batch_size: int | None = None,
        **options,
    ):
        if len(sources) != len(targets):
            raise DataError(f"{len(sources)} sources have {len(targets)} translations")
        self._sources = sources
        super().__init__(targets, batch_size, **options)

    def batch(self, step: int) -> Batch:
        x, y, weight = super().batch(step)
        return {"encoder_token_ids": self._padded(self._sources, step), **x}, y, weight

    def _lengths(self) -> npt.NDArray[np.intp]:
        sources = np.array([len(row) + 1 for row in self._sources], "int64")
        return np.maximum(super()._lengths(), sources)


class _Stream(Planner):
    """Fixed shapes out of one stream of targets, which `token_stream` gives."""

    def __init__(self, stream: Ids, batch_size: int, window: int):
        if not len(stream):
            raise DataError("there is no text to make batches of")
        if min(batch_size, window) < 1:
            raise ValueError("batch_size and window must be at least 1")
        self.batch_size, self.window = batch_size, window
        self.longest = window
        self.targets_per_pass = len(stream)
        self._targets = np.asarray(stream, "int32")
        # What stands before each target: the one before it, and an <eos> before the first.
        self._inputs = np.concatenate([np.array([EOS_ID], "int32"), self._targets[:-1]])

    @property
    def _shape(self) -> tuple[int, int]:
        return self.batch_size, self.window

    def _gather(self, starts, ends) -> Batch:
        """`window` targets from each of `starts` on, with weight 1 before the row's end."""
        positions = starts[:, None] + np.arange(self.window)
        weight = (positions < np.reshape(ends, (-1, 1))).astype("float32")
        positions %= len(self._targets)
        return {"token_ids": self._inputs[positions]}, self._targets[positions], weight


class Streams(_Stream):
    """Truncated back-propagation through time: row `b` of each batch goes on where row `b` of the
    batch before it ended, so that a state carried from step to step makes sense.

    The stream is cut into `batch_size` parts, equal but for one token, one a row, which are read
    in order; at the first step of a pass all are at their beginnings, and the state must be
    zeroed. No id is ever 0: where a part ends before its last window does, what follows in the text
    stands there with weight 0.

    Args:
        stream: the targets, `(tokens,)`.
        batch_size: rows.
        window: tokens a step, over which gradients go back.
    """

    def __init__(self, stream: Ids, batch_size: int, window: int):
        super().__init__(stream, batch_size, window)
        self._bounds = np.arange(batch_size + 1) * len(stream) // batch_size
        longest = int(np.diff(self._bounds).max())
        self.steps_per_pass = -(-longest // window)

    def batch(self, step: int) -> Batch:
        offset = step % self.steps_per_pass * self.window
        return self._gather(self._bounds[:-1] + offset, self._bounds[1:])


class Windows(_Stream):
    """Crops of fixed length, for models that carry no state from step to step.

    The stream is cut every `window` tokens; what is left over at its end is a crop too, filled up
    with what stands at the beginning, at weight 0, as is the last batch with whole crops.

    Args:
        stream: the targets, `(tokens,)`.
        batch_size: crops a batch.
        window: tokens a crop.
        order: `"shuffled"`: each crop once a pass, in a new order; `"random"`: crops from anywhere
            (nanoGPT's way), as many as there are in a pass, so that it is not exactly once that a
            token comes.
        seed: of the order.
    """

    def __init__(
        self,
        stream: Ids,
        batch_size: int,
        window: int,
        *,
        order: Literal["shuffled", "random"] = "shuffled",
        seed: int = 0,
    ):
        super().__init__(stream, batch_size, window)
        if order not in ("shuffled", "random"):
            raise ValueError(f"the order is shuffled or random, not {order!r}")
        self._order, self._seed = order, seed
        self._crops = -(-len(stream) // window)
        self.steps_per_pass = -(-self._crops // batch_size)
        self._pass = lru_cache(maxsize=2)(self._make_pass)

    def batch(self, step: int) -> Batch:
        size = len(self._targets)
        if self._order == "random":
            # Any start of a whole crop; a stream shorter than that has one crop.
            rng = np.random.default_rng((self._seed, step))
            starts = rng.integers(max(1, size - self.window + 1), size=self.batch_size)
            return self._gather(starts, size)
        number, index = divmod(step, self.steps_per_pass)
        crops = self._pass(number)[index * self.batch_size :][: self.batch_size]
        return self._gather(crops * self.window, size)

    def _make_pass(self, number: int) -> npt.NDArray[np.intp]:
        """The numbers of the crops of a pass; those behind the end only fill its last batch."""
        crops = np.random.default_rng((self._seed, number)).permutation(self._crops)
        filling = self._crops + np.arange(self.steps_per_pass * self.batch_size - self._crops)
        return np.concatenate([crops, filling])


class Strided(Planner):
    """Overlapping windows over one long text, for a model that carries no state.

    Window `i` ends with target `(i + 1) * stride`; its last `stride` targets count, the rest is
    what the model knows of the text before them.

    Args:
        stream: the targets, `(tokens,)`, as `token_stream` gives them.
        batch_size: windows a batch, or fewer if there are not as many.
        window: tokens a window.
        stride: from 1 (each token is given a full window) to `window` (windows side by side).
    """

    def __init__(self, stream: Ids, batch_size: int, window: int, stride: int):
        if not 1 <= stride <= window:
            raise UserError(f"--stride must be from 1 to the window of {window}, not {stride}")
        self.window, self.stride = window, stride
        windows = -(-len(stream) // stride)
        self.batch_size = max(1, min(batch_size, windows))
        self.longest = window
        self.targets_per_pass = len(stream)
        self.steps_per_pass = -(-windows // self.batch_size)
        # What stands behind the end only fills the last windows.
        self._targets = np.concatenate([stream, np.full(window * self.batch_size, EOS_ID, "int32")])
        self._inputs = np.concatenate([np.array([EOS_ID], "int32"), self._targets[:-1]])

    def batch(self, step: int) -> Batch:
        windows = step * self.batch_size + np.arange(self.batch_size)
        ends = (windows + 1) * self.stride
        starts = np.minimum(np.maximum(ends - self.window, 0), self.targets_per_pass)
        positions = starts[:, None] + np.arange(self.window)
        counts = (positions >= ends[:, None] - self.stride) & (positions < ends[:, None])
        counts &= positions < self.targets_per_pass
        x, y = self._inputs[positions], self._targets[positions]
        return {"token_ids": x}, y, counts.astype("float32")

    @property
    def _shape(self):
        return self.batch_size, self.window
