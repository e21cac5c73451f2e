"""The one contract of the zoo: `(token_ids, state) -> (logits, state)`.

A state is a flat dict of arrays, the batch first in each. A model declares its leaves once, in a
`StateSpec`; everything that moves rows about (beam search, the server, the tests) does so with the
only `join`, `take` and `trim` there are, below. NumPy alone: a serving process imports this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

PAD_ID = 0
"""The id of `<pad>` in every tokenizer; it stands only at the right of a call."""

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Leaf:
    """One array of a state.

    Args:
        name: unique in the state, such as `layer_0/h`.
        shape: without the batch axis; `None` stands for the one axis of slots, whose length varies.
        dtype: NumPy's name of the element type.
        kind: `carried` comes back from every call; `constant` is set by `encode` and does not, and
            has one row a source, which stands for as many successive rows of the others as there
            are of each source (beams look at one copy);
            `cache` is carried and has an axis of slots; `cursor` is carried only where the capacity
            of the caches is fixed, and says where the next token is written.
        initial: value of every element before the first token, and of an empty slot.
        slots: name of the leaf `(batch, slots)` that holds the position of the token in each slot,
            -1 where it is empty; `None` for a leaf without slots.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    kind: Literal["carried", "constant", "cache", "cursor"] = "carried"
    initial: int = 0
    slots: str | None = None

    @property
    def slot_axis(self) -> int | None:
        """Axis of the slots in an array with its batch axis, or `None`."""
        return self.shape.index(None) + 1 if None in self.shape else None

    def empty(self, batch: int, slots: int = 0) -> np.ndarray:
        """The leaf before the first token: `(batch, *shape)`, all `initial`."""
        shape = [slots if size is None else size for size in self.shape]
        return np.full([batch, *shape], self.initial, self.dtype)


@dataclass(frozen=True)
class StateSpec:
    """The leaves of a state, in order."""

    leaves: tuple[Leaf, ...] = ()

    def __iter__(self):
        return iter(self.leaves)

    def __len__(self):
        return len(self.leaves)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all leaves."""
        return tuple(leaf.name for leaf in self)

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the leaves that `encode` sets and no call returns."""
        return tuple(leaf.name for leaf in self if leaf.kind == "constant")

    def initial(self, batch: int, capacity: int | None = None) -> State:
        """The state before the first token.

        Args:
            batch: number of rows.
            capacity: slots of each cache for good, for a loop that needs fixed shapes; `None`
                gives caches without a slot, which grow by one slot a token.

        Returns:
            Every leaf but the constants, which only `encode` can give.
        """
        wanted = ["carried", "cache"] if capacity is None else ["carried", "cache", "cursor"]
        return {leaf.name: leaf.empty(batch, capacity or 0) for leaf in self if leaf.kind in wanted}

    def check(self, state: State) -> None:
        """Raises `ValueError` where a leaf is missing, unknown, or of another shape or dtype."""
        known = {leaf.name: leaf for leaf in self}
        optional = {leaf.name for leaf in self if leaf.kind == "cursor"}
        if wrong := (set(state) ^ set(known)) - optional:
            raise ValueError(f"state leaves {sorted(wrong)} are missing or unknown")
        slots: dict[str, int] = {}
        batch = {len(array) for name, array in state.items() if known[name].kind != "constant"}
        sources = {len(array) for name, array in state.items() if known[name].kind == "constant"}
        if len(batch) > 1 or len(sources) > 1 or any(b % s for b in batch for s in sources if s):
            raise ValueError(
                f"state leaves disagree on the batch: {sorted(batch)}, of sources {sorted(sources)}"
            )
        for name, array in state.items():
            leaf = known[name]
            if leaf.slot_axis is not None and array.ndim > leaf.slot_axis:
                slots.setdefault(leaf.slots, array.shape[leaf.slot_axis])
            expected = tuple(slots[leaf.slots] if n is None else n for n in leaf.shape)
            if array.shape[1:] != expected or str(array.dtype) != leaf.dtype:
                raise ValueError(
                    f"state leaf {name}: expected (batch, *{expected}) {leaf.dtype}, "
                    f"got {array.shape} {array.dtype}"
                )


def join(spec: StateSpec, states: Sequence[State]) -> State:
    """Stacks the rows of several states; shorter caches get empty slots at the right."""
    joined = {}
    if len({rows_a_source(spec, state) for state in states}) > 1:
        states = [_with_constants_by_row(spec, state) for state in states]
    for leaf in spec:
        arrays = [state[leaf.name] for state in states if leaf.name in state]
        if not arrays:
            continue
        if (axis := leaf.slot_axis) is not None:
            slots = max(array.shape[axis] for array in arrays)
            arrays = [_pad_slots(array, axis, slots, leaf.initial) for array in arrays]
        joined[leaf.name] = np.concatenate(arrays)
    return joined


def widen(spec: StateSpec, state: State, slots: int) -> State:
    """The state with at least so many slots in each cache, empty ones added at the right."""
    state = dict(state)
    for leaf in spec:
        if leaf.kind == "cache" and (axis := leaf.slot_axis) is not None:
            state[leaf.name] = _pad_slots(state[leaf.name], axis, slots, leaf.initial)
    return state


def _pad_slots(array: np.ndarray, axis: int, slots: int, value: int) -> np.ndarray:
    missing = max(slots - array.shape[axis], 0)
    padding = [(0, missing if a == axis else 0) for a in range(array.ndim)]
    return np.pad(array, padding, constant_values=value)


def take(spec: StateSpec, state: State, rows) -> State:
    """The given rows, in that order; a row may be given more than once (beam search does so)."""
    carried = {name: array[rows] for name, array in state.items() if name not in spec.constants}
    return {**carried, **take_constants(spec, state, rows)}


def take_constants(spec: StateSpec, state: State, rows) -> State:
    """The constants of the given rows: one row a source if it has equally many, next to each other.

    They are copied only where they are not the same as before.
    """
    constants = _constants(spec, state)
    if not constants or not len(rows):
        return {name: array[:0] for name, array in constants.items()}
    sources = np.asarray(rows) // rows_a_source(spec, state)
    changes = np.flatnonzero(np.diff(sources))
    count = int(changes[0]) + 1 if len(changes) else len(sources)
    if len(constants) < len(state) and np.array_equal(sources[::count].repeat(count), sources):
        sources = sources[::count]
    if np.array_equal(sources, np.arange(len(next(iter(constants.values()))))):
        return constants
    return {name: array[sources] for name, array in constants.items()}


def rows_a_source(spec: StateSpec, state: State) -> int:
    """How many rows each row of the constants stands for."""
    constants = _constants(spec, state)
    sources = next(map(len, constants.values()), 0)
    rows = next((len(array) for name, array in state.items() if name not in constants), sources)
    return rows // sources if sources else 1


def _with_constants_by_row(spec: StateSpec, state: State) -> State:
    count = rows_a_source(spec, state)
    repeated = {
        name: array.repeat(count, axis=0) for name, array in _constants(spec, state).items()
    }
    return {**state, **repeated}


def _constants(spec: StateSpec, state: State) -> State:
    return {name: state[name] for name in spec.constants if name in state}


def trim(spec: StateSpec, state: State) -> State:
    """Drops the slots that are empty in every row."""
    used = {
        leaf.name: np.flatnonzero((state[leaf.name] >= 0).any(axis=0))
        for leaf in spec
        if leaf.name == leaf.slots
    }
    return {
        leaf.name: np.take(state[leaf.name], used[leaf.slots], leaf.slot_axis)
        if leaf.slots
        else state[leaf.name]
        for leaf in spec
        if leaf.name in state
    }


def best(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k most probable tokens, the best first, the lower id first where two are equal.

    Padding is no token: it is not among them, and has no probability.

    Args:
        logits: `(rows, vocabulary_size)`.
        k: how many; fewer come back where there are fewer.

    Returns:
        `(ids, log_probs)`, `(rows, k)` each: int64 and float32.
    """
    return most_probable(log_probabilities(logits), k)


def most_probable(log_probs: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `best`, from the log-probabilities of all tokens."""
    order = largest(log_probs[:, PAD_ID + 1 :], k) + PAD_ID + 1
    return order, np.take_along_axis(log_probs, order, axis=1)


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k largest values of each row, the largest first, the left of two equals.

    Args:
        values: `(rows, columns)`.
        k: how many; fewer come back where there are fewer.

    Returns:
        `(rows, k)` int64.
    """
    rows, columns = values.shape
    k = min(k, columns)
    if not values.size or not k:
        return np.empty((rows, k), "int64")
    if k == 1:
        return values.argmax(axis=1)[:, None]
    least = np.partition(values, columns - k, axis=1)[:, columns - k, None]
    row, column = np.nonzero(~(values < least))  # the k-th with all its equals
    order = np.lexsort((-values[row, column], row))  # stable: equals stay in their order
    first = np.searchsorted(row, np.arange(rows))
    return column[order[first[:, None] + np.arange(k)]]


def log_probabilities(logits: np.ndarray, normalizers: np.ndarray | None = None) -> np.ndarray:
    """Natural log-probabilities of logits `(rows, vocabulary_size)`; padding has none, -inf.

    Args:
        logits: of each row.
        normalizers: `log_normalizers` of other logits, for scores that are those of their tokens
            with what has been added to some; `None`: of these.
    """
    log_probs = logits - (log_normalizers(logits) if normalizers is None else normalizers)
    log_probs[:, PAD_ID] = -np.inf
    return log_probs


def log_normalizers(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of e^x over all tokens but padding: `(rows, 1)`."""
    return _log_sums(logits[:, PAD_ID + 1 :])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural log-probabilities of logits `(rows, vocabulary_size)`."""
    return logits - _log_sums(logits)


def _log_sums(logits: np.ndarray) -> np.ndarray:
    greatest = logits.max(axis=-1, keepdims=True)
    return greatest + np.log(np.exp(logits - greatest).sum(axis=-1, keepdims=True))


class Decodable:
    """What a decoder sees of a model: `zoo.tasks` gives it for Keras, `zoo.bundle` for ONNX.

    The state is opaque to the decoder; a row is one sequence.

    Attributes:
        state_spec: the leaves of the state.
        max_length: most tokens of a sequence, where the architecture has a bound.
        ragged: whether the rows of a batch may have different lengths. A model whose may not writes
            one text at a time, and is never given padding.
    """

    state_spec: StateSpec
    max_length: int | None = None
    ragged: bool = True

    def start(self, source_ids_or_batch) -> State:
        """The state before the first token: of so many rows, or one row a source sentence."""
        raise NotImplementedError

    def read(self, token_ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """The function of the contract on arrays: `(logits, state)`, without the constants."""
        raise NotImplementedError

    def step(self, token_ids, state: State, rows=None, want: Literal["logits"] | int = "logits"):
        """Reads tokens.

        Args:
            token_ids: `(batch, time)` int, padded with 0 at the right.
            state: of the rows, from any of these methods.
            rows: take these rows of the state first.
            want: `"logits"`, or how many of the best next tokens; 0: the state alone.

        Returns:
            `(logits, state)`, logits `(batch, time, vocabulary_size)`; or with a number k
            `((ids, log_probs), state)`, `(batch, k)` each, after the last real token of each row;
            with 0 `(None, state)`.
        """
        token_ids = np.asarray(token_ids, "int32")
        state = state if rows is None else self.take(state, rows)
        if want == 0:
            wanted: Any = None
            new = self.advance(token_ids, state)
        else:
            wanted, new = self.read(token_ids, state)
            if want != "logits":
                wanted = self.best(_of_last(wanted, token_ids), want)
        return wanted, {**new, **{name: state[name] for name in self.state_spec.constants}}

    def advance(self, token_ids: np.ndarray, state: State) -> State:
        """The state that `read` gives, without what the logits cost where a model can save it."""
        return self.read(token_ids, state)[1]

    def best(self, logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most probable tokens by `(batch, vocabulary_size)` logits, as in `step`."""
        return best(logits, k)

    def attention(self, token_ids: np.ndarray, state: State) -> dict[str, np.ndarray]:
        """What each token looks at, in `read` with the same arguments.

        Args:
            token_ids: `(batch, time)`, no two rows of one source.
            state: of the rows, before any token of theirs.

        Returns:
            Weights by name, `(batch, heads, time, slots)`: slot i is token i of the call, or, where
            the name ends in `cross`, token i of the source. Empty where there are none to be had.
        """
        return {}

    def join(self, states: Sequence[State]) -> State:
        """The rows of several states as one."""
        return join(self.state_spec, states)

    def take(self, state: State, rows) -> State:
        """The given rows of a state."""
        return take(self.state_spec, state, rows)

    def trim(self, state: State) -> State:
        """The state without the slots that are empty in every row."""
        return trim(self.state_spec, state)


def _of_last(logits: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    """The logits after the last real token of each row."""
    if token_ids.shape[1] == 1:
        return logits[:, 0]
    last = np.maximum((token_ids != PAD_ID).sum(axis=1) - 1, 0)
    return logits[np.arange(len(last)), last]
