"""Models from elsewhere: a KerasHub `CausalLM` under the contract of the zoo, any other as it is.

The adapter makes a task of the zoo of it, so that everything behind it knows one kind of model. A
text classifier is any model together with a tokenizer and labels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops

import zoo
from zoo import presets, tasks
from zoo.backbone import Network, lengths
from zoo.contract import Decodable, Leaf, StateSpec
from zoo.layers.cache import CURSOR, POSITIONS
from zoo.tokenizers import EOS_ID, Tokenizer


def adapt(model: "keras.Model | TextClassifier") -> "keras.Model | TextClassifier":
    """The model as a task of the zoo where it can be one, else the model itself."""
    is_other = isinstance(model, keras_hub.models.CausalLM) and not isinstance(model, Decodable)
    return KerasHubTask(model) if is_other else model


def save(model: "keras.Model | TextClassifier", path: Path) -> Path:
    """Saves what `adapt` was given, for `load`; returns where it is."""
    if isinstance(model, Decodable):
        presets.save(model, path)
    elif isinstance(model, keras_hub.models.CausalLM):
        model.save_to_preset(str(path))
    else:
        path = path.with_suffix(".keras")
        (model.model if isinstance(model, TextClassifier) else model).save(path)
    return path


def load(where: Any) -> keras.Model:
    """What `adapt` gave, at float32: of `save`, or of what `zoo.load` takes.

    Raises:
        ValueError: it cannot be loaded.
    """
    path = Path(where)
    if path.suffix == ".keras":
        return keras.saving.load_model(path)
    task = path / "task.json"
    if task.is_file() and json.loads(task.read_bytes())["registered_name"].startswith("keras_hub>"):
        return adapt(keras_hub.models.CausalLM.from_preset(str(path), dtype="float32"))
    return zoo.load(where, dtype="float32")


class TextClassifier:
    """A text classifier as a bundle holds it: a model of token ids, a tokenizer and labels.

    Args:
        model: token ids `(batch, time)` -> logits or probabilities `(batch, classes)`. The graph of
            a bundle gives logits, which the logarithms of probabilities are.
        tokenizer: of the texts, which are read without `<eos>`.
        labels: of the classes, in order.
        max_length: most tokens of a text, where there is a bound.

    Attributes:
        model: `token_ids` -> `{"logits"}`.
        facts: what a manifest says of it.

    Raises:
        ValueError: the model takes or gives something else, or does not belong to the tokenizer
            or the labels.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        max_length: int | None = None,
    ):
        shape = getattr(model, "input_shape", (None, None))
        if not isinstance(shape, tuple) or len(shape) != 2:
            raise ValueError("a text classifier takes one array of token ids, (batch, time)")
        time = shape[1] if shape[0] is None else None  # else that of some batch it was called with
        self.tokenizer = tokenizer
        self.facts = {
            "architecture": type(model).__name__,
            "vocabulary_size": tokenizer.vocabulary_size,
            "max_length": time or max_length,
            "labels": list(labels),
        }
        token_ids = keras.Input((time,), dtype="int32", name="token_ids")
        logits = outputs = model(token_ids)
        if self._gives_probabilities(model, time or 1):
            logits = ops.log(ops.maximum(outputs, np.finfo("float32").tiny))
        self.model = keras.Model(token_ids, {"logits": logits})
        self.count_params = self.model.count_params

    def _gives_probabilities(self, model, time):
        """Whether texts of one token, the last of the vocabulary among them, get probabilities."""
        token_ids = np.zeros((8, time), "int32")
        token_ids[:, 0] = np.linspace(EOS_ID, self.tokenizer.vocabulary_size - 1, len(token_ids))
        try:
            outputs = model.predict_on_batch(token_ids)
        except Exception as error:  # whatever a layer may raise
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"the model does not read every token alone: {reason}") from None
        labels = self.facts["labels"]
        if np.shape(outputs) != (len(token_ids), len(labels)):
            raise ValueError(f"the model gives {np.shape(outputs)[1:]} for {len(labels)} labels")
        if not np.isfinite(outputs).all():
            raise ValueError("the model has no finite logits for every token of the tokenizer")
        if outputs.min() < 0 or outputs.max() > 1:
            return False
        if not np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
            raise ValueError("probabilities have to add up to 1: a text has one label")
        return True


class KerasHubTask(tasks.Generator, keras.Model):
    """A KerasHub `CausalLM` as a task of the zoo, without a tokenizer of the zoo.

    Args:
        causal_lm: what `KerasHubNetwork` takes.
    """

    def __init__(self, causal_lm):
        keras.Model.__init__(self, name="task")
        self.backbone = KerasHubBackbone(causal_lm)
        self.preprocessor = None


class KerasHubBackbone(keras.Model):
    """`{"token_ids": (batch, time)}` -> logits, as `zoo.backbone.Backbone`."""

    input_names = ("token_ids",)

    def __init__(self, causal_lm):
        super().__init__(name="backbone")
        self.network = KerasHubNetwork(causal_lm)
        self.built = True  # the weights are there

    def call(self, inputs):
        return self.network(inputs["token_ids"])[0]


class KerasHubNetwork(Network):
    """A KerasHub `CausalLM` that keeps the contract, as far as one position for all rows allows.

    `call_with_cache` writes the tokens of all rows from one slot on, and sees every slot before it:
    the rows have equal lengths, and no id is padding but at the right of all of them, where a
    cache of fixed capacity is written over by what comes next.

    Args:
        causal_lm: with a method `call_with_cache(token_ids, cache, cache_update_index)`.
    """

    ragged = False

    def __init__(self, causal_lm: keras_hub.models.CausalLM, **kwargs):
        super().__init__(**kwargs)
        self.causal_lm = causal_lm
        backbone = causal_lm.backbone
        self.vocabulary_size = backbone.vocabulary_size
        self.max_length = getattr(backbone, "max_sequence_length", None)
        # (batch, layers, 2, slots, heads, head_dim): how many heads is each architecture's affair.
        _, cache = causal_lm._build_cache(ops.ones((1, 1), "int32"))
        self._sizes = tuple(cache.shape)

    @property
    def architecture(self):
        return type(self.causal_lm).__name__

    @property
    def state_spec(self):
        _, layers, two, _, heads, width = self._sizes
        return StateSpec(
            (
                Leaf(POSITIONS, (None,), "int32", "cache", initial=-1, slots=POSITIONS),
                Leaf(CURSOR, (), "int32", "cursor"),
                Leaf("cache", (layers, two, None, heads, width), kind="cache", slots=POSITIONS),
            )
        )

    def call(self, token_ids, state=None, padded=True):
        if state is None:
            inputs = {"token_ids": token_ids, "padding_mask": ops.ones_like(token_ids)}
            return self.causal_lm(inputs), {}
        rows, time = ops.shape(token_ids)
        positions, cache = state[POSITIONS], state["cache"]
        if CURSOR in state:
            start = state[CURSOR][0]
            after = {CURSOR: state[CURSOR] + lengths(token_ids)}
            numbers = ops.arange(ops.shape(positions)[1])
            positions = ops.where(numbers < after[CURSOR][:, None], numbers, -1)
        else:
            start, after = ops.shape(positions)[1], {}
            new = ops.broadcast_to(start + ops.arange(time), (rows, time))
            positions = ops.concatenate([positions, new], axis=1)
            shape = (rows, *self._sizes[1:3], time, *self._sizes[4:])
            cache = ops.concatenate([cache, ops.zeros(shape, cache.dtype)], axis=3)
        logits, _, cache = self.causal_lm.call_with_cache(token_ids, cache, start)
        return ops.cast(logits, "float32"), {POSITIONS: positions, "cache": cache, **after}
