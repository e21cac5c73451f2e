"""Tasks: a backbone and its preprocessor, trained, saved, and asked for text.

One class a task serves every architecture, since all of them keep the contract of `zoo.contract`.
Importing this module registers every class of the zoo with Keras.
"""

import functools

import keras
import keras_hub
import numpy as np
from keras import ops

from zoo import contract
from zoo.backbone import Backbone, EncoderDecoderBackbone
from zoo.models import (  # noqa: F401
    bahdanau,
    bengio,
    bigram,
    cho,
    elman,
    gru,
    lstm,
    luong,
    sutskever,
    transformer,
    vaswani,
)
from zoo.preprocessing import CausalLMPreprocessor, Seq2SeqLMPreprocessor


class Generator(contract.Decodable):
    """What KerasHub's `generate` and the decoders of `zoo.decoding` ask of a task."""

    def __init__(self, backbone, preprocessor=None, **kwargs):
        self.backbone = backbone
        self.preprocessor = preprocessor
        super().__init__(inputs=backbone.input, outputs=backbone.output, **kwargs)

    def call(self, inputs, training=None, mask=None):
        # `training` by name: only where Keras sees it in the signature does `fit` pass it on.
        inputs = self.backbone.select_inputs(inputs)
        return super().call(inputs, training=training, mask=mask)

    # === KerasHub's generation: one compiled loop over a state of fixed capacity ===

    def generate_step(self, inputs, stop_token_ids=None):
        """Completes `inputs["token_ids"]` `(batch, max_length)` where `padding_mask` is 0.

        Args:
            inputs: `token_ids` and `padding_mask`, and `encoder_token_ids` for a translation.
            stop_token_ids: a row ends after the first of these that is generated; `None`: never.

        Returns:
            `{"token_ids", "padding_mask"}`, `(batch, max_length)` each.
        """
        token_ids = ops.cast(inputs["token_ids"], "int32")
        given = ops.cast(inputs["padding_mask"], "bool")
        max_length = token_ids.shape[1]
        self.backbone.network.check_length(max_length)
        # All rows are generated from one index on: behind it, the longer prompts are taken as they
        # stand. What lies before its last token is read at once.
        index = ops.min(ops.sum(ops.cast(given, "int32"), axis=1))
        before = ops.arange(max_length) < index - 1
        network = self.backbone.network
        state = self._first_state(inputs, token_ids, max_length)
        constants = {name: state[name] for name in network.state_spec.constants}
        _, state = network(ops.where(before, token_ids, 0), state)

        def next(prompt, state, index):
            rows = ops.shape(prompt)[0]
            last = ops.slice(prompt, [0, index - 1], [rows, 1])
            # A beam search has as many rows of each sentence as it has beams, next to each other.
            logits, state = network(last, state | constants)
            # Padding is no token: nothing generates it.
            pad = ops.arange(network.vocabulary_size) == contract.PAD_ID
            return ops.where(pad, -1e9, logits[:, 0]), None, state

        token_ids = self.sampler(
            next=next,
            prompt=token_ids,
            cache=state,
            index=index,
            mask=given,
            stop_token_ids=stop_token_ids,
            model=self,
        )
        if stop_token_ids is None:
            return {"token_ids": token_ids, "padding_mask": ops.ones_like(given)}
        is_stop = ops.any(ops.equal(token_ids[..., None], list(stop_token_ids)), axis=-1)
        stops = ops.cast(ops.logical_and(is_stop, ops.logical_not(given)), "int32")
        return {"token_ids": token_ids, "padding_mask": ops.cumsum(stops, axis=1) - stops == 0}

    def _first_state(self, inputs, token_ids, capacity):
        state = self.backbone.network.state_spec.initial(1, capacity)
        rows = ops.shape(token_ids)[0]
        return {n: ops.broadcast_to(x, (rows, *x.shape[1:])) for n, x in state.items()}

    # === The same as `zoo.bundle.Bundle`: a state of NumPy arrays, one step at a time ===

    @property
    def tokenizer(self):
        """The `zoo.tokenizers.Tokenizer` of the text."""
        return self.preprocessor.tokenizer.tokenizer

    @property
    def source_tokenizer(self):
        """That of the source, which may be the same; `None` for a language model."""
        return None

    @property
    def state_spec(self):
        """The leaves of the state."""
        return self.backbone.network.state_spec

    @property
    def max_length(self):
        """Most tokens of a sequence, where the architecture has a bound."""
        return self.backbone.network.max_length

    @property
    def ragged(self):
        """Whether the rows of a batch may have different lengths."""
        return self.backbone.network.ragged

    def start(self, source_ids_or_batch):
        return self.state_spec.initial(source_ids_or_batch, capacity=0)

    def read(self, token_ids, state):
        return self._run(self._call, token_ids, state)

    def attention(self, token_ids, state):
        if not self.backbone.network.has_attention:
            return {}
        _, _, weights = self._run(self._attentive_call, token_ids, state)
        # The sequence begins here, so that its first slots are its tokens.
        time = token_ids.shape[1]
        slots = {name: None if name.endswith("cross") else time for name in weights}
        return {name: array[:, :, :time, : slots[name]] for name, array in weights.items()}

    def _run(self, call, token_ids, state):
        # Compiled functions are made for few shapes: rows (of a source), time and capacity go up in
        # powers of two.
        rows, time = token_ids.shape
        padded = np.pad(token_ids, [(0, 0), (0, _power_of_two(time) - time)])
        used = int(state["cursor"].max(initial=0)) if "cursor" in state else 0
        state = contract.widen(self.state_spec, state, _power_of_two(max(used + time, 8)))
        beams = contract.rows_a_source(self.state_spec, state)
        if (wanted := beams * _power_of_two(rows // beams)) > rows:
            filled = np.arange(wanted) % rows  # whoever is there stands for those that are missing
            padded, state = padded[filled], self.take(state, filled)
        logits, *more = call.predict_on_batch({"token_ids": padded, "state": state})
        more = [{name: array[:rows] for name, array in arrays.items()} for arrays in more]
        return logits[:rows, :time], *more

    @functools.cached_property
    def _call(self):
        return _Compiled(self.backbone.network, "__call__")

    @functools.cached_property
    def _attentive_call(self):
        return _Compiled(self.backbone.network, "__call__", attention=True)


class _Compiled(keras.Model):
    """A method of a network as a compiled function of NumPy arrays: `predict_on_batch`."""

    def __init__(self, network, method, **options):
        super().__init__(name="compiled")
        self.network = network
        self.method = method
        self.options = options

    def call(self, inputs):
        return getattr(self.network, self.method)(**inputs, **self.options)


def _power_of_two(n):
    return 1 << (n - 1).bit_length() if n > 0 else 0


@keras.saving.register_keras_serializable("zoo")
class CausalLM(Generator, keras_hub.models.CausalLM):
    """A language model over any `Backbone`.

    `generate(texts, max_length)` completes texts with the sampler given to `compile`.

    Args:
        backbone: a `zoo.backbone.Backbone`.
        preprocessor: a `CausalLMPreprocessor`; `None`: token ids in, token ids out.
    """

    backbone_cls = Backbone
    preprocessor_cls = CausalLMPreprocessor


@keras.saving.register_keras_serializable("zoo")
class Seq2SeqLM(Generator, keras_hub.models.Seq2SeqLM):
    """A translation model over any `EncoderDecoderBackbone`.

    `generate(sources, max_length)` translates with the sampler given to `compile`.

    Args:
        backbone: a `zoo.backbone.EncoderDecoderBackbone`.
        preprocessor: a `Seq2SeqLMPreprocessor`; `None`: token ids in, token ids out.
    """

    backbone_cls = EncoderDecoderBackbone
    preprocessor_cls = Seq2SeqLMPreprocessor

    @property
    def source_tokenizer(self):
        source = self.preprocessor.source_tokenizer
        return source.tokenizer if source else self.tokenizer

    def _first_state(self, inputs, token_ids, capacity):
        state = super()._first_state(inputs, token_ids, capacity)
        return state | self.backbone.network.encode(ops.cast(inputs["encoder_token_ids"], "int32"))

    def start(self, source_ids_or_batch):
        source_ids = np.asarray(source_ids_or_batch, "int32")
        slots = source_ids.shape[1]
        source_ids = np.pad(source_ids, [(0, 0), (0, _power_of_two(slots) - slots)])
        state = super().start(len(source_ids))
        return state | self._encode.predict_on_batch({"source_ids": source_ids})

    @functools.cached_property
    def _encode(self):
        return _Compiled(self.backbone.network, "encode")
