"""From a recipe's `[model]` table to a task."""

import importlib
from dataclasses import asdict
from typing import Any

from training.inputs import Inputs
from training.recipe import ARCHITECTURES, UserError
from zoo.backbone import Backbone, EncoderDecoder, EncoderDecoderBackbone
from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer, Seq2SeqLMPreprocessor
from zoo.tasks import CausalLM, Seq2SeqLM


def make(options: Any, data: Inputs):
    """A new task, its vocabulary sizes those of the tokenizers.

    Args:
        options: `architecture`, and the keywords of its constructor.
        data: whose tokenizers are used.

    Raises:
        UserError: the values are not what the architecture takes, or it is not for such data.
    """
    arguments = asdict(options)
    module, name = ARCHITECTURES[arguments.pop("architecture")].split(":")
    cls = getattr(importlib.import_module(module), name)
    source = data.source_tokenizer
    if issubclass(cls, EncoderDecoder) != bool(source):
        given, read = ("pairs of texts", "single texts")[:: 1 if source else -1]
        raise UserError(f"the data has {given}, and {options.architecture} reads {read}")
    sizes = {"vocabulary_size": data.tokenizer.vocabulary_size}
    joint = source is data.tokenizer
    if source and not joint:
        sizes["source_vocabulary_size"] = source.vocabulary_size
    try:
        network = cls(**sizes, **arguments)
        backbone = EncoderDecoderBackbone(network) if source else Backbone(network)
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())  # Keras's own words have many lines
        raise UserError(f"model: {said[:300]}") from None
    tokenizer = PresetTokenizer(data.tokenizer)
    if not source:
        return CausalLM(backbone, CausalLMPreprocessor(tokenizer))
    reader = None if joint else PresetTokenizer(source)
    return Seq2SeqLM(backbone, Seq2SeqLMPreprocessor(tokenizer, source_tokenizer=reader))
