"""The models of `infer.py`: their weights are random, and they are exported as any other.

python tests/benchmarks/infer_models.py DIRECTORY
"""

import json
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

VOCABULARY, UNITS = 10_000, 512
WORDS, LAYERS, HEADS, WIDTH = 20, 3, 8, 256
GENERATED, GENERATOR_LAYERS = 256, 4

NAMES = ("lstm", "translation", "generation")


def write_bundles(folder: Path) -> None:
    """Writes the bundles of `NAMES`, each as `NAME_int8` too; and their weights, `NAME.npz`."""
    import keras

    from export.exporter import export_all
    from zoo.backbone import Backbone, EncoderDecoderBackbone
    from zoo.models.lstm import LSTMLanguageModel
    from zoo.models.transformer import TransformerLanguageModel
    from zoo.models.vaswani import VaswaniEncoderDecoder
    from zoo.preprocessing import CausalLMPreprocessor, PresetTokenizer, Seq2SeqLMPreprocessor
    from zoo.tasks import CausalLM, Seq2SeqLM
    from zoo.tokenizers import EOS_ID, train_words

    keras.utils.set_random_seed(0)
    words = " ".join(f"w{i}" for i in range(VOCABULARY - 3))
    tokenizer = PresetTokenizer(train_words([words]))

    def language_model(network):
        return CausalLM(Backbone(network), CausalLMPreprocessor(tokenizer, sequence_length=WORDS))

    sizes = {"num_heads": HEADS, "hidden_dim": WIDTH}
    translator = VaswaniEncoderDecoder(VOCABULARY, num_layers=LAYERS, **sizes)
    networks = {
        "lstm": LSTMLanguageModel(VOCABULARY, units=UNITS, num_layers=2),
        "generation": TransformerLanguageModel(
            VOCABULARY,
            num_layers=GENERATOR_LAYERS,
            positions="rotary",
            activation="gelu",
            **sizes,
        ),
    }
    tasks = {name: language_model(network) for name, network in networks.items()}
    tasks["translation"] = Seq2SeqLM(
        EncoderDecoderBackbone(translator),
        Seq2SeqLMPreprocessor(
            tokenizer, encoder_sequence_length=WORDS, decoder_sequence_length=WORDS
        ),
    )
    random = np.random.default_rng(0)
    for name, task in tasks.items():
        for weight in task.backbone.weights:
            # Those of its feedforward networks the builder of onnxruntime-genai leaves out.
            is_left_out = name == "generation" and "feedforward" in weight.path
            if weight.name in ("bias", "beta") and not is_left_out:
                weight.assign(random.normal(scale=0.1, size=weight.shape))
    # A logit of 0 is never the greatest: what is generated does not end.
    table = networks["generation"].token_embedding.embeddings
    rows = table.numpy()
    rows[EOS_ID] = 0
    table.assign(rows)
    for name, task in tasks.items():
        arrays = {weight.path: weight.numpy() for weight in task.backbone.weights}
        np.savez(folder / f"{name}.npz", **arrays)
    export_all({folder / name: task for name, task in tasks.items()})
    for name in tasks:
        write_int8(folder / name, folder / f"{name}_int8")


def write_int8(bundle: Path, to: Path) -> None:
    """Writes a bundle with the graphs of another in 8 bits."""
    from export import weights
    from export.quantize import quantize

    shutil.copytree(bundle, to, ignore=shutil.ignore_patterns("saved_model"))
    weights.rewrite(to, quantize)
    manifest = json.loads((to / "manifest.json").read_text())
    files = [path for path in to.iterdir() if path.name != "manifest.json"]
    manifest["files"] = {path.name: sha256(path.read_bytes()).hexdigest() for path in files}
    (to / "manifest.json").write_text(json.dumps(manifest))


if __name__ == "__main__":
    write_bundles(Path(sys.argv[1]))
