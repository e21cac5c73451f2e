"""Other systems with the weights of the models in `infer.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from infer_models import GENERATED, GENERATOR_LAYERS, HEADS, LAYERS, UNITS, VOCABULARY, WIDTH, WORDS

from zoo.bundle import Bundle

EPSILON = 1e-5  # of layer normalisation


class Weights:
    """The weights of a model, found by the end of their names."""

    def __init__(self, path: Path):
        self._arrays = dict(np.load(path))

    def __call__(self, name: str) -> np.ndarray:
        (found,) = (array for key, array in self._arrays.items() if key.endswith("/" + name))
        return found

    @property
    def kernels(self) -> list[np.ndarray]:
        """All matrices but the tables of embeddings."""
        return [array for name, array in self._arrays.items() if "kernel" in name]

    def fill_linear(self, name, *layers):
        """Gives layers of torch the parts of a dense layer."""
        import torch

        kernels = np.split(self(f"{name}/kernel"), len(layers), axis=1)
        biases = np.split(self(f"{name}/bias"), len(layers))
        for layer, kernel, bias in zip(layers, kernels, biases):
            layer.weight.data.copy_(torch.from_numpy(kernel.T))
            layer.bias.data.copy_(torch.from_numpy(bias))

    def fill_norm(self, name, layer, offset=0):
        """Gives a layer of torch, which adds the offset itself, those of a normalisation."""
        import torch

        layer.weight.data.copy_(torch.from_numpy(self(f"{name}/gamma") - offset))
        layer.bias.data.copy_(torch.from_numpy(self(f"{name}/beta")))
        layer.eps = EPSILON

    def fill_embedding(self, layer):
        """Gives a layer of torch the embeddings of the tokens."""
        import torch

        layer.weight.data.copy_(torch.from_numpy(self("token_embedding/embeddings")))


# === torch ===


def torch_lstm(weights: Weights):
    """`(ids, state) -> (logits, state)` of arrays and what torch has for a state."""
    import torch

    layers = torch.nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True)
    for i, parameters in enumerate(layers.all_weights):
        kernels = [weights(f"layer_{i}/{name}").T for name in ("kernel", "recurrent_kernel")]
        values = [*kernels, weights(f"layer_{i}/bias"), np.zeros(4 * UNITS, "float32")]
        for parameter, value in zip(parameters, values):
            parameter.data.copy_(torch.from_numpy(value))
    names = "embeddings", "logits/kernel", "logits/bias"
    table, kernel, bias = (torch.from_numpy(weights(name)) for name in names)

    @torch.inference_mode()
    def step(ids, state):
        outputs, state = layers(table[torch.from_numpy(ids).long()], state)
        return (outputs @ kernel + bias).numpy(), state

    return step


# === Hugging Face ===


def marian(weights: Weights):
    """`(sources, beam size) -> texts`, all of them lists of ids."""
    import transformers

    sizes = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in (("layers", LAYERS), ("attention_heads", HEADS), ("ffn_dim", 4 * WIDTH))
    }
    config = transformers.MarianConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        **sizes,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=1,
        forced_eos_token_id=None,
    )
    model = transformers.MarianMTModel(config).eval()
    weights.fill_embedding(model.model.shared)
    model.final_logits_bias[0, 0] = -1e4  # ours never writes <pad>
    for i in range(LAYERS):
        for part, name in (("encoder", "encoder_layer"), ("decoder", "layer")):
            layer, name = getattr(model.model, part).layers[i], f"{name}_{i}"
            attention = layer.self_attn
            parts = attention.q_proj, attention.k_proj, attention.v_proj
            weights.fill_linear(f"{name}/query_key_value", *parts)
            weights.fill_linear(f"{name}/attention_output", attention.out_proj)
            weights.fill_norm(f"{name}/attention_norm", layer.self_attn_layer_norm)
            weights.fill_linear(f"{name}/feedforward", layer.fc1)
            weights.fill_linear(f"{name}/feedforward_output", layer.fc2)
            weights.fill_norm(f"{name}/feedforward_norm", layer.final_layer_norm)
        attention = layer.encoder_attn
        weights.fill_linear(f"{name}/memory_query", attention.q_proj)
        weights.fill_linear(f"{name}/memory_key_value", attention.k_proj, attention.v_proj)
        weights.fill_linear(f"{name}/memory_output", attention.out_proj)
        weights.fill_norm(f"{name}/memory_norm", layer.encoder_attn_layer_norm)

    def translate(sources, beam):
        return [_ended(text[1:]) for text in _generate(model, sources, WORDS, beam)]

    return translate


def nemotron(weights: Weights):
    """Our Transformer with rotary positions as Hugging Face has it: a model of torch.

    Of Llama's relatives it is the one that has our LayerNorm and a feedforward network of two
    matrices.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.NemotronConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=GENERATOR_LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        hidden_act="gelu",
        max_position_embeddings=2 * GENERATED,
        norm_eps=EPSILON,
        rms_norm_eps=EPSILON,  # where the builder of onnxruntime-genai looks for it
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 1.0,
        },
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    model = transformers.NemotronForCausalLM(config).eval()
    weights.fill_embedding(model.model.embed_tokens)
    for i, layer in enumerate(model.model.layers):
        name, attention = f"layer_{i}", layer.self_attn
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        weights.fill_linear(f"{name}/query_key_value", *parts)
        weights.fill_linear(f"{name}/attention_output", attention.o_proj)
        weights.fill_norm(f"{name}/attention_norm", layer.input_layernorm, offset=1)
        weights.fill_linear(f"{name}/feedforward", layer.mlp.up_proj)
        weights.fill_linear(f"{name}/feedforward_output", layer.mlp.down_proj)
        weights.fill_norm(f"{name}/feedforward_norm", layer.post_attention_layernorm, offset=1)
    weights.fill_norm("final_norm", model.model.norm, offset=1)
    return model


def huggingface_writer(model):
    """`prompts -> texts` of a model of Hugging Face."""

    def write(prompts):
        texts = _generate(model, prompts, GENERATED)
        return [tuple(text[len(prompts[0]) :]) for text in texts]

    return write


def _generate(model, ids, most, beam=1):
    import torch

    ids = torch.tensor(ids)
    with torch.inference_mode():
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=beam,
            do_sample=False,
            max_new_tokens=most,
        ).tolist()


def _ended(ids):
    return tuple(ids[: ids.index(1) + 1] if 1 in ids else ids)


# === onnxruntime-genai ===


def genai_writer(model, tokenizer: Path, folder: Path):
    """`prompts -> texts` of what onnxruntime-genai makes of a model of Hugging Face."""
    import onnxruntime_genai

    checkpoint, built = folder / "huggingface", folder / "genai"
    model.save_pretrained(checkpoint)
    (checkpoint / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    described = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(described))
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "fp32", "-e", "cpu"]
    command += ["-i", str(checkpoint), "-o", str(built), "-c", str(folder / "cache")]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, env=offline, check=True, capture_output=True)
    path = built / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = 1
    path.write_text(json.dumps(config))
    model = onnxruntime_genai.Model(str(built))

    def write(prompts):
        parameters = onnxruntime_genai.GeneratorParams(model)
        length = len(prompts[0]) + GENERATED
        parameters.set_search_options(max_length=length, batch_size=len(prompts), do_sample=False)
        generator = onnxruntime_genai.Generator(model, parameters)
        generator.append_tokens(np.array(prompts, "int32"))
        while not generator.is_done():
            generator.generate_next_token()
        texts = [generator.get_sequence(i) for i in range(len(prompts))]
        return [tuple(text[len(prompts[0]) :].tolist()) for text in texts]

    return write


# === CTranslate2 ===


class CTranslate2:
    """A translator of CTranslate2 with our weights.

    Args:
        folder: of the bundles.
        kind: `float32` or `int8`.
        workers: translate side by side, on one thread each.
    """

    def __init__(self, folder: Path, kind: str, workers: int = 1):
        import ctranslate2

        self._tokenizer = Bundle(folder / "translation").tokenizer
        path = folder / "ctranslate2"
        if not path.is_dir():
            _save(Weights(folder / "translation.npz"), self._tokenizer, path)
        self._translator = ctranslate2.Translator(
            str(path), compute_type=kind, inter_threads=workers, intra_threads=1
        )

    def translate(self, sources, beam, most=0):
        """Texts of sources, so many at once, all of them lists of ids."""
        results = self._translator.translate_batch(
            [self._words(source) for source in sources],
            max_batch_size=most,
            beam_size=beam,
            max_decoding_length=WORDS,
            return_end_token=True,
        )
        return [tuple(map(self._tokenizer.id, result.hypotheses[0])) for result in results]

    def score(self, sources, texts):
        """The log-probabilities of the tokens of each text."""
        words = [[self._words(ids) for ids in lists] for lists in (sources, texts)]
        scores = self._translator.score_batch(*words)
        return [score.log_probs[: len(text)] for score, text in zip(scores, texts)]

    def _words(self, ids):
        return [self._tokenizer.token(i) for i in ids]


def _save(weights, tokenizer, path):
    from ctranslate2.specs import TransformerSpec

    def linear(spec, name):
        spec.weight = np.ascontiguousarray(weights(f"{name}/kernel").T)
        spec.bias = weights(f"{name}/bias")

    def norm(spec, name):
        spec.gamma, spec.beta = weights(f"{name}/gamma"), weights(f"{name}/beta")

    def layer(spec, name):
        linear(spec.self_attention.linear[0], f"{name}/query_key_value")
        linear(spec.self_attention.linear[1], f"{name}/attention_output")
        norm(spec.self_attention.layer_norm, f"{name}/attention_norm")
        linear(spec.ffn.linear_0, f"{name}/feedforward")
        linear(spec.ffn.linear_1, f"{name}/feedforward_output")
        norm(spec.ffn.layer_norm, f"{name}/feedforward_norm")

    spec = TransformerSpec.from_config(LAYERS, HEADS, pre_norm=False)
    table = weights("token_embedding/embeddings")
    positions = np.arange(512)[:, None] * 10_000.0 ** (-2 * np.arange(WIDTH // 2) / WIDTH)
    positions = np.concatenate([np.sin(positions), np.cos(positions)], 1).astype("float32")
    for part in (spec.encoder, spec.decoder):
        part.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = table
    spec.decoder.projection.weight = table
    spec.decoder.projection.bias = np.where(np.arange(VOCABULARY) == 0, -1e4, 0).astype("float32")
    for i in range(LAYERS):
        layer(spec.encoder.layer[i], f"encoder_layer_{i}")
        decoder, name = spec.decoder.layer[i], f"layer_{i}"
        layer(decoder, name)
        linear(decoder.attention.linear[0], f"{name}/memory_query")
        linear(decoder.attention.linear[1], f"{name}/memory_key_value")
        linear(decoder.attention.linear[2], f"{name}/memory_output")
        norm(decoder.attention.layer_norm, f"{name}/memory_norm")
    words = [tokenizer.token(i) for i in range(VOCABULARY)]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    eos = tokenizer.token(1)
    spec.config.eos_token = spec.config.bos_token = spec.config.decoder_start_token = eos
    spec.config.layer_norm_epsilon = EPSILON
    spec.validate()
    path.mkdir()
    spec.save(str(path))
