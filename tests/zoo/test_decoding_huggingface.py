"""Our decoder on our Transformer against `generate` of Hugging Face on GPT-2: the same weights."""

import numpy as np
import pytest

from zoo.backbone import Backbone
from zoo.decoding import Options, Request, generate
from zoo.models.transformer import TransformerLanguageModel
from zoo.tasks import CausalLM
from zoo.tokenizers import train_characters

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENIZER = train_characters(["abcdefghijklmnopqrstuvwxyz"])
SIZE = TOKENIZER.vocabulary_size
WIDTH, LAYERS, LENGTH = 16, 2, 40
PROMPTS = [(1,), (5, 9, 3), (1, 20, 20, 4, 7), (12,)]


@pytest.fixture(scope="module")
def theirs():
    """GPT-2 with random weights that write something else at every position, and end at times."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=SIZE,
        n_positions=LENGTH,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=2,
        activation_function="relu",
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
        attn_implementation="eager",
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".ln_" not in name:
                weight.copy_(torch.randn_like(weight) * 0.5)
        embeddings = model.transformer.wte.weight
        embeddings *= 1.5 / embeddings.norm(dim=1, keepdim=True)
        model.transformer.ln_f.bias += embeddings[1]
        model.transformer.wpe.weight *= 3
    # Padding, an id like any other there, has no probability here.
    head = torch.nn.Linear(WIDTH, SIZE)
    head.weight = model.lm_head.weight
    torch.nn.init.zeros_(head.bias)
    head.bias.data[0] = -1e9
    model.lm_head = head
    return model


@pytest.fixture(scope="module")
def ours(theirs):
    network = TransformerLanguageModel(
        SIZE, num_layers=LAYERS, num_heads=2, hidden_dim=WIDTH, max_sequence_length=LENGTH
    )
    model = CausalLM(Backbone(network))
    names = {
        "token_embedding/embeddings": "wte.weight",
        "position_embedding/embeddings": "wpe.weight",
        "final_norm/gamma": "ln_f.weight",
        "final_norm/beta": "ln_f.bias",
    }
    layers = {
        "attention_norm": "ln_1",
        "query_key_value": "attn.c_attn",
        "attention_output": "attn.c_proj",
        "feedforward_norm": "ln_2",
        "feedforward": "mlp.c_fc",
        "feedforward_output": "mlp.c_proj",
    }
    kinds = {"gamma": "weight", "beta": "bias", "kernel": "weight", "bias": "bias"}
    values = theirs.transformer.state_dict()
    for weight in network.weights:
        *_, block, layer, kind = ["", *weight.path.split("/")]
        name = names.get(f"{layer}/{kind}") or (
            f"h.{block.removeprefix('layer_')}.{layers[layer]}.{kinds[kind]}"
        )
        weight.assign(values.pop(name).numpy())
    assert not values
    return model


def write(theirs, prompt, **options):
    """Token ids up to the end of each text, without the prompt, and the scores."""
    with torch.no_grad():
        output = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )
    texts = [ids[len(prompt) :].tolist() for ids in output.sequences]
    ended = [ids[: ids.index(1) + 1] if 1 in ids else ids for ids in texts]
    return ended, output.get("sequences_scores")


def test_logits(theirs, ours):
    token_ids = np.random.default_rng(0).integers(1, SIZE, (3, LENGTH))
    logits, _ = ours.step(token_ids, ours.start(3))
    expected = theirs(torch.tensor(token_ids)).logits.detach().numpy()
    np.testing.assert_allclose(logits[..., 1:], expected[..., 1:], rtol=1e-4, atol=1e-4)


RULES = [
    ({}, {}),
    ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
    ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
    ({"min_tokens": 9}, {"min_new_tokens": 9}),
    ({"suppress_ids": (5, 9)}, {"suppress_tokens": [5, 9]}),
    ({"bad_words": ("bc", "x")}, {"bad_words_ids": [TOKENIZER.encode(w) for w in ("bc", "x")]}),
    ({"logit_bias": ((7, 3.0),)}, {"sequence_bias": [[[7], 3.0]]}),
]


@pytest.mark.parametrize(("options", "same"), RULES)
def test_greedy(theirs, ours, options, same):
    # Where `<eos>` stands before a text, it is no token of it here and is one there.
    prompts = [p for p in PROMPTS if p[0] != 1 or "repetition_penalty" not in options]
    requests = [Request(prompt, options=Options(max_tokens=24, **options)) for prompt in prompts]
    for prompt, result in zip(prompts, generate(ours, TOKENIZER, requests)):
        (expected,), _ = write(theirs, prompt, max_new_tokens=24, **same)
        assert list(result.token_ids) == expected


@pytest.mark.parametrize(
    ("rule", "alpha", "early_stopping"),
    [
        *((0, alpha, early) for alpha in (0.0, 1.0, 2.0, -0.5) for early in (True, False)),
        *((rule, 1.0, False) for rule in (2, 3, 4, 5)),
    ],
)
def test_beams(theirs, ours, rule, alpha, early_stopping):
    options, same = RULES[rule]
    asked = Options(
        max_tokens=14,
        beam_size=4,
        n_best=3,
        length_penalty=alpha,
        length_penalty_form="plain",
        early_stopping=early_stopping,
        **options,
    )
    results = generate(ours, TOKENIZER, [Request(prompt, options=asked) for prompt in PROMPTS])
    for prompt, result in zip(PROMPTS, results):
        texts, scores = write(
            theirs,
            prompt,
            max_new_tokens=14,
            num_beams=4,
            num_return_sequences=3,
            length_penalty=alpha,
            early_stopping=early_stopping or "never",  # their False is a guess, not a bound
            **same,
        )
        found = result.ranked
        assert [list(one.token_ids) for one in found] == texts
        np.testing.assert_allclose([one.score for one in found], scores, rtol=1e-4)
