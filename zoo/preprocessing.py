"""The zoo's tokenizers as KerasHub layers, for KerasHub's preprocessors and presets."""

import os

import keras
import keras_hub
import tensorflow as tf

from zoo import tokenizers
from zoo.backbone import Backbone, EncoderDecoderBackbone


@keras.saving.register_keras_serializable("zoo")
class PresetTokenizer(keras_hub.tokenizers.Tokenizer):
    """A `zoo.tokenizers.Tokenizer` as a layer whose vocabulary is an asset of the preset.

    Args:
        tokenizer: the tokenizer, or `None`: `load_assets` brings it.
        config_file: name of the layer's configuration in a preset; its assets lie in the folder of
            that name.
    """

    # The same for every tokenizer of the zoo.
    pad_token_id = tokenizers.PAD_ID
    start_token_id = end_token_id = tokenizers.EOS_ID
    special_token_ids = (tokenizers.PAD_ID, tokenizers.EOS_ID)

    def __init__(self, tokenizer: tokenizers.Tokenizer | None = None, **kwargs):
        super().__init__(**{"dtype": "int32", **kwargs})
        self.tokenizer = tokenizer
        self.file_assets = ["tokenizer.json"]

    def get_config(self):
        return {key: value for key, value in super().get_config().items() if key != "tokenizer"}

    def save_assets(self, dir_path):
        self.tokenizer.save(os.path.join(dir_path, "tokenizer.json"))

    def load_assets(self, dir_path):
        self.tokenizer = tokenizers.Tokenizer.load(os.path.join(dir_path, "tokenizer.json"))

    def tokenize(self, inputs):
        """A string -> a list of token ids; strings -> as many lists, ragged in TensorFlow."""
        if isinstance(inputs, str):
            return self.tokenizer.encode(inputs)
        if not tf.is_tensor(inputs):
            return self.tokenizer.encode_batch(inputs)
        # The tokenizer is no TensorFlow graph: inside tf.data it runs as Python.
        ids, row_lengths = tf.numpy_function(
            self._encode_bytes, [tf.reshape(inputs, [-1])], ["int32", "int64"], stateful=False
        )
        ids.set_shape([None])
        row_lengths.set_shape([None])
        ragged = tf.RaggedTensor.from_row_lengths(ids, row_lengths)
        return ragged[0] if inputs.shape.rank == 0 else ragged

    def _encode_bytes(self, texts):
        rows = self.tokenizer.encode_batch([text.decode() for text in texts])
        ids = [token_id for row in rows for token_id in row]
        return tf.constant(ids, "int32").numpy(), tf.constant([*map(len, rows)], "int64").numpy()

    def detokenize(self, inputs):
        """Token ids -> string, or rows of them -> strings; special tokens are left out."""
        rows = inputs.to_list() if isinstance(inputs, tf.RaggedTensor) else list(inputs)
        if rows and not hasattr(rows[0], "__len__"):
            return self.tokenizer.decode(rows)
        return [self.tokenizer.decode(row) for row in rows]

    def get_vocabulary(self):
        return self.tokenizer.vocabulary

    def vocabulary_size(self):
        return self.tokenizer.vocabulary_size

    def id_to_token(self, id):
        return self.tokenizer.token(id)

    def token_to_id(self, token):
        return self.tokenizer.id(token)


@keras.saving.register_keras_serializable("zoo")
class CausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Texts -> `<eos> tokens <eos>`, padded to `sequence_length`; the target is the next token."""

    backbone_cls = Backbone
    tokenizer_cls = PresetTokenizer


@keras.saving.register_keras_serializable("zoo")
class Seq2SeqLMPreprocessor(keras_hub.models.Seq2SeqLMPreprocessor):
    """Pairs of texts -> `source <eos>` and `<eos> target <eos>`; the target is the next token.

    Args:
        tokenizer: of the target, and of the source where no other is given.
        source_tokenizer: of the source.
        encoder_sequence_length, decoder_sequence_length: tokens that each is padded or cut to.
    """

    backbone_cls = EncoderDecoderBackbone
    tokenizer_cls = PresetTokenizer

    def __init__(self, tokenizer, source_tokenizer=None, **kwargs):
        super().__init__(tokenizer, **kwargs)
        self.source_tokenizer = source_tokenizer
        if source_tokenizer:  # beside the other's, in a preset
            source_tokenizer.config_file = "source_tokenizer.json"

    def get_config(self):
        config = super().get_config()
        config["encoder_sequence_length"] = self.encoder_sequence_length
        config["decoder_sequence_length"] = self.decoder_sequence_length
        if self.source_tokenizer:
            config["source_tokenizer"] = keras.layers.serialize(self.source_tokenizer)
        return config

    @classmethod
    def from_config(cls, config):
        if source := config.get("source_tokenizer"):
            config = {**config, "source_tokenizer": keras.layers.deserialize(source)}
        return super().from_config(config)

    def build(self, input_shape):
        super().build(input_shape)
        # A source ends with `<eos>` and has no start mark.
        self.encoder_packer.start_value = None

    def call(self, x, y=None, sample_weight=None, sequence_length=None):
        # One token more, since the last one has no next.
        token_ids, mask = self.decoder_packer(
            self.tokenizer(x["decoder_text"]),
            sequence_length=(sequence_length or self.sequence_length) + 1,
        )
        inputs = {
            "encoder_token_ids": self._source(x["encoder_text"]),
            "token_ids": token_ids[..., :-1],
        }
        return inputs, token_ids[..., 1:], mask[..., 1:]

    def _source(self, text):
        token_ids, _ = self.encoder_packer((self.source_tokenizer or self.tokenizer)(text))
        return token_ids

    def generate_preprocess(self, x, sequence_length=None):
        """Sources, or `{"encoder_text", "decoder_text"}` with the targets' beginnings -> ids."""
        if not self.built:
            self.build(None)
        if not isinstance(x, dict):
            x = {"encoder_text": x, "decoder_text": self._empty_decoder_text(x)}
        token_ids, mask = self.decoder_packer(
            self.tokenizer(x["decoder_text"]),
            sequence_length=sequence_length or self.sequence_length,
            add_end_value=False,
        )
        return {
            "encoder_token_ids": self._source(x["encoder_text"]),
            "token_ids": token_ids,
            "padding_mask": mask,
        }

    def generate_postprocess(self, x):
        """Target ids -> texts."""
        names = {"decoder_token_ids": "token_ids", "decoder_padding_mask": "padding_mask"}
        return super().generate_postprocess({new: x[old] for new, old in names.items()})
