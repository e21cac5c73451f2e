"""Every architecture of the zoo with its options, small: a new model adds its lines here.

The tests that hold for all of them take `SMALL`, from name to a network with weights.
"""

import numpy as np

from zoo.backbone import Backbone, EncoderDecoderBackbone
from zoo.models.bahdanau import BahdanauEncoderDecoder
from zoo.models.bengio import BengioLanguageModel
from zoo.models.bigram import BigramCounts, BigramNetwork
from zoo.models.cho import ChoEncoderDecoder
from zoo.models.elman import ElmanLanguageModel
from zoo.models.gru import GRULanguageModel
from zoo.models.lstm import LSTMLanguageModel
from zoo.models.luong import LuongEncoderDecoder
from zoo.models.sutskever import SutskeverEncoderDecoder
from zoo.models.transformer import TransformerLanguageModel
from zoo.models.vaswani import VaswaniEncoderDecoder

VOCABULARY_SIZE = 11

# The classes by the options that make a difference to what they compute.
SMALL = {
    "bigram_counts": (BigramCounts, {}),
    "bigram_network": (BigramNetwork, {}),
    "bengio": (BengioLanguageModel, {"hidden_dim": 8}),
    "bengio_indirect": (BengioLanguageModel, {"hidden_dim": 8, "direct_connections": False}),
    "bengio_batch": (BengioLanguageModel, {"hidden_dim": 8, "normalization": "batch"}),
    "bengio_layer": (BengioLanguageModel, {"hidden_dim": 8, "normalization": "layer"}),
    "bengio_group": (BengioLanguageModel, {"hidden_dim": 16, "normalization": "group"}),
    "elman": (ElmanLanguageModel, {"units": 8}),
    "elman_sigmoid": (ElmanLanguageModel, {"units": 8, "activation": "sigmoid"}),
    "lstm": (LSTMLanguageModel, {"units": 8}),
    "lstm_graves": (LSTMLanguageModel, {"units": 8, "skip_connections": True, "peephole": True}),
    "gru": (GRULanguageModel, {"units": 8, "num_layers": 2}),
    "gru_reset_before": (GRULanguageModel, {"units": 8, "num_layers": 2, "reset_after": False}),
    "transformer": (TransformerLanguageModel, {}),
    "transformer_post": (
        TransformerLanguageModel,
        {"positions": "sinusoidal", "norm": "post", "tie_embeddings": False, "activation": "gelu"},
    ),
    "transformer_relative": (TransformerLanguageModel, {"positions": "relative"}),
    "transformer_rotary": (TransformerLanguageModel, {"positions": "rotary"}),
    "transformer_window": (
        TransformerLanguageModel,
        {"positions": "alibi", "attention": "window"},
    ),
    "transformer_linear": (TransformerLanguageModel, {"attention": "linear"}),
    "cho": (ChoEncoderDecoder, {"encoder_units": 6}),
    "cho_grconv": (ChoEncoderDecoder, {"encoder": "grconv", "encoder_units": 6}),
    "sutskever": (SutskeverEncoderDecoder, {"units": 8, "num_layers": 2}),
    "bahdanau": (BahdanauEncoderDecoder, {"attention_units": 7}),
    "luong": (LuongEncoderDecoder, {}),
    "luong_dot": (LuongEncoderDecoder, {"score": "dot", "reverse_source": False}),
    "luong_concat": (LuongEncoderDecoder, {"score": "concat", "input_feeding": False}),
    "vaswani": (VaswaniEncoderDecoder, {}),
    "vaswani_pre": (
        VaswaniEncoderDecoder,
        {"positions": "relative", "norm": "pre", "tie_embeddings": False},
    ),
}
_SIZES = {
    TransformerLanguageModel: {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "window": 3},
    ChoEncoderDecoder: {"units": 8, "embedding_dim": 5, "maxout_units": 4},
    BahdanauEncoderDecoder: {"units": 8, "embedding_dim": 5, "maxout_units": 4},
    LuongEncoderDecoder: {"units": 8, "embedding_dim": 5, "num_layers": 2},
    VaswaniEncoderDecoder: {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "max_distance": 2},
}


def backbone(name):
    """The network of this name in its backbone, with the same weights whatever the backend."""
    kind, options = SMALL[name]
    options = _SIZES.get(kind, {}) | options
    wrap = EncoderDecoderBackbone if hasattr(kind, "encode") else Backbone
    model = wrap(kind(VOCABULARY_SIZE, **options))
    generator = np.random.default_rng(len(name))
    for weight in model.weights:
        values = generator.normal(scale=0.5, size=weight.shape)
        # A running variance is one: positive.
        weight.assign(np.abs(values) + 0.1 if "variance" in weight.name else values)
    return model


def arrays(model):
    """The weights as float64, by layer and name: `layer_0/kernel`."""
    return {
        "/".join(weight.path.split("/")[-2:]): np.asarray(weight.numpy(), "float64")
        for weight in model.weights
    }
