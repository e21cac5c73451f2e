"""From an architecture to a KerasHub backbone.

An architecture is a `Network`: a pure layer that keeps the contract of `zoo.contract`. One generic
backbone wraps any of them, so that one task (`zoo.tasks`), one exporter and one decoder serve all.
"""

import keras
import keras_hub
from keras import ops

from zoo.contract import PAD_ID, StateSpec


def lengths(token_ids):
    """Number of real tokens in each row: `(batch, time)` -> `(batch,)`, int32."""
    return ops.sum(ops.cast(ops.not_equal(token_ids, PAD_ID), "int32"), axis=1)


class Network(keras.layers.Layer):
    """The pure function `(token_ids, state) -> (logits, state)`; an architecture derives from it.

    Arguments of the constructor are plain values, which Keras records for the configuration.

    Call arguments:
        token_ids: `(batch, time)` int32; 0 pads, only at the right.
        state: dict of arrays as `state_spec` declares it, or `None`: training and scoring of whole
            sequences from their start. Then no mask is made, since nothing that stands right of a
            token reaches it, and the returned state is empty.
        padded: `False` promises that no id is 0, which spares recurrent kernels their mask.
        attention: ask for the attention weights too, of an architecture with `has_attention`.

    Returns:
        `(logits, state)`: `(batch, time, vocabulary_size)` float32, and the state after each row's
        last real token, without the constants. With `attention` a third: a dict of weights by
        layer, `layer_0/self` or `cross`, `(batch, heads, time, slots)`, which sum to 1 over the
        slots of the cache or of the memory.
    """

    vocabulary_size: int
    has_attention: bool = False
    """Whether `call`, and `encode` where there is one, take `attention`."""
    max_length: int | None = None
    """Most tokens of a sequence, where the architecture has a bound."""
    ragged: bool = True
    """Whether the rows of a batch may have different lengths."""

    @property
    def architecture(self) -> str:
        """What it is called."""
        return type(self).__name__

    @property
    def state_spec(self) -> StateSpec:
        """The leaves of the state, from the configuration alone."""
        raise NotImplementedError

    def call(self, token_ids, state=None, padded=True):
        raise NotImplementedError

    def check_length(self, length):
        """Raises `ValueError` where a sequence of this length goes beyond `max_length`."""
        if self.max_length and isinstance(length, int) and length > self.max_length:
            raise ValueError(
                f"{length} tokens are more than the {self.max_length} that {self.name} has "
                "positions for (max_sequence_length)"
            )

    def zeros(self, token_ids):
        """The state before the first token for these rows, as tensors; caches have no slots."""
        batch = ops.shape(token_ids)[0]
        return {
            name: ops.broadcast_to(array, (batch, *array.shape[1:]))
            for name, array in self.state_spec.initial(1).items()
        }


class EncoderDecoder(Network):
    """A `Network` whose first state comes from a source sentence.

    In training `call` is given what `encode` gives, and no other leaf.
    """

    def encode(self, source_ids):
        """What of the first state depends on the source, the constants among it.

        Args:
            source_ids: `(batch, time)` int32, each row ending in `<eos>`; 0 pads at the right and
                never changes a result.
            attention: as in `call`; then `(state, weights)` is returned.
        """
        raise NotImplementedError


class _TeacherForced(keras.layers.Layer):
    """The network on whole sequences from their first state, as training and scoring see it."""

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network

    def call(self, inputs):
        state = None
        if "encoder_token_ids" in inputs:
            state = self.network.encode(inputs["encoder_token_ids"])
        logits, _ = self.network(inputs["token_ids"], state, padded=False)
        return logits

    def attention(self, inputs):
        """The attention weights in `call`, of the encoder and of the decoder."""
        state, weights = None, {}
        if "encoder_token_ids" in inputs:
            state, weights = self.network.encode(inputs["encoder_token_ids"], attention=True)
        _, _, seen = self.network(inputs["token_ids"], state, padded=False, attention=True)
        return weights | seen


@keras.saving.register_keras_serializable("zoo")
class Backbone(keras_hub.models.Backbone):
    """A language model: `{"token_ids": (batch, time)}` -> logits `(batch, time, vocabulary_size)`.

    Args:
        network: the `Network`.
        dtype: precision of the network, such as `"mixed_bfloat16"`; `None` leaves it as it is.
    """

    input_names: tuple[str, ...] = ("token_ids",)

    def __init__(self, network: Network, dtype=None, **kwargs):
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in self.input_names}
        whole = _TeacherForced(network, dtype=network.dtype_policy, name="teacher_forced")
        super().__init__(inputs=inputs, outputs=whole(inputs), dtype=dtype, **kwargs)
        self.network = network
        self._whole = whole

    def select_inputs(self, inputs):
        """Drops the padding masks that KerasHub's preprocessors send: the ids say as much.

        Raises:
            ValueError: the sequences are longer than the network's `max_length`.
        """
        self.network.check_length(inputs["token_ids"].shape[1])
        return {name: inputs[name] for name in self.input_names}

    def call(self, inputs, training=None, mask=None):
        return super().call(self.select_inputs(inputs), training=training, mask=mask)

    def attention(self, inputs):
        """What each token looked at, of the inputs that the model is called with.

        Returns:
            Weights by name, `(batch, heads, time, slots)`, slot i being token i: of the sequence
            itself in `layer_0/self`, of the source in `layer_0/cross`, or `cross` where only one
            layer looks there, and of the source to itself in `encoder_layer_0/self`. Empty for an
            architecture without attention.
        """
        if not self.network.has_attention:
            return {}
        return self._whole.attention(self.select_inputs(inputs))

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
        }

    @classmethod
    def from_config(cls, config):
        network = dict(config["network"])
        if dtype := config.get("dtype"):
            # By name: Keras records only plain arguments, and what is loaded can be saved again.
            name = keras.dtype_policies.get(dtype).name
            network["config"] = {**network["config"], "dtype": name}
        network = keras.saving.deserialize_keras_object(network)
        return super().from_config({**config, "network": network})


@keras.saving.register_keras_serializable("zoo")
class EncoderDecoderBackbone(Backbone):
    """A translation model: `{"encoder_token_ids", "token_ids"}` -> logits of the target tokens.

    Args:
        network: the `EncoderDecoder`.
        dtype: as for `Backbone`.
    """

    input_names = ("encoder_token_ids", "token_ids")
