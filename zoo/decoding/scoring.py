"""What a model says of texts that are there, read at once: prompts, scores, attention."""

from collections.abc import Sequence

import numpy as np

from zoo.contract import PAD_ID, Decodable, State, log_probabilities
from zoo.decoding.options import InvalidOption
from zoo.decoding.request import Request, Result
from zoo.decoding.search import length_penalty
from zoo.decoding.text import Characters


def next_tokens(
    model: Decodable, requests: Sequence[Request], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k most probable next tokens of each request, or all where there are fewer.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        requests: their prompts are read; their options have no say.
        k: how many.

    Returns:
        `(ids, log_probs)`, `(requests, k)` each, the most probable first.

    Raises:
        InvalidOption: a prompt is longer than what the model can read.
    """
    for request in requests:
        check_length(model, request, 1)
    prompts = _padded([request.prompt_ids for request in requests])
    best, _ = model.step(prompts, _start(model, requests), want=k)
    return best


def score(
    model: Decodable, tokenizer, requests: Sequence[Request], texts: Sequence[str | Sequence[int]]
) -> list[Result]:
    """How probable texts are: each what follows the prompt of a request, and translates its source.

    All are read together, which takes memory for the logits of each token of all of them.

    Args:
        model: a `zoo.bundle.Bundle` or a task of `zoo.tasks`.
        tokenizer: of the texts, from `zoo.tokenizers`.
        requests: one a text; of the options, those of the length penalty have a say.
        texts: strings, which end with the end token; or token ids, which end as they do.

    Returns:
        One result a text, as if the decoder had written it.

    Raises:
        InvalidOption: a text is longer than what the model can read.
        ValueError: a text has no token.
    """
    if not requests:
        return []
    written = [_token_ids(tokenizer, text) for text in texts]
    for request, token_ids in zip(requests, written):
        check_length(model, request, len(token_ids))
    rows = [[*r.prompt_ids, *token_ids][:-1] for r, token_ids in zip(requests, written)]
    logits, _ = model.step(_padded(rows), _start(model, requests))
    results = []
    for request, token_ids, own in zip(requests, written, logits):
        first = len(request.prompt_ids) - 1
        log_probs = log_probabilities(own[first : first + len(token_ids)])
        log_probs = log_probs[np.arange(len(token_ids)), token_ids].tolist()
        result = Result(
            _text(tokenizer, request.prompt_ids, token_ids),
            token_ids,
            tuple(log_probs),
            "end" if token_ids[-1] == tokenizer.eos_id else None,
            sum(log_probs) / length_penalty(request.options, len(token_ids)),
            attention=attention(model, request, token_ids) if request.attention else None,
        )
        results.append(result)
    return results


def _token_ids(tokenizer, text):
    ids = (*tokenizer.encode(text), tokenizer.eos_id) if isinstance(text, str) else tuple(text)
    if not ids:
        raise ValueError("a text has one token at least: the end token")
    return ids


def _text(tokenizer, prompt_ids, token_ids):
    characters = Characters(tokenizer, prompt_ids, ())
    return "".join(characters.push(i)[0] for i in token_ids) + characters.flush()[0]


def attention(
    model: Decodable, request: Request, token_ids: Sequence[int]
) -> dict[str, np.ndarray] | None:
    """What the model looks at as it writes these tokens, as in `Result`; `None`: it cannot tell."""
    read = [*request.prompt_ids, *token_ids][:-1]
    weights = model.attention(_padded([read]), _start(model, [request]))
    slots = {True: len(request.source_ids or ()), False: len(read)}
    return {
        name: array[0, :, len(request.prompt_ids) - 1 : len(read), : slots[name.endswith("cross")]]
        for name, array in weights.items()
    } or None


def read_prompts(model: Decodable, requests: Sequence[Request]) -> State:
    """The state after the sources, and after the prompts but for the last token of each."""
    state = _start(model, requests)
    prompts = _padded([request.prompt_ids[:-1] for request in requests])
    return model.step(prompts, state, want=0)[1] if prompts.size else state


def check_length(model: Decodable, request: Request, max_tokens: int) -> None:
    """Raises `InvalidOption` where a text of so many tokens is longer than what the model reads."""
    prompt, limit = len(request.prompt_ids), model.max_length
    if limit and prompt > limit:
        raise InvalidOption("prompt", f"{prompt} tokens", f"at most {limit} tokens")
    # The last token that is written is not read.
    if limit and prompt + max_tokens - 1 > limit:
        allowed = f"at most {limit - prompt + 1} after a prompt of {prompt} tokens"
        raise InvalidOption("max_tokens", max_tokens, allowed)


def check_rows(model: Decodable, rows: int) -> None:
    """Raises `ValueError` where the model can only take one text at a time, and there are more."""
    if rows > 1 and not model.ragged:
        raise ValueError("rows of different lengths are not for this model: give it one text")


def _start(model, requests):
    check_rows(model, len(requests))
    sources = [request.source_ids for request in requests]
    return model.start(len(requests) if sources[0] is None else _padded(sources))


def _padded(rows):
    """Lists of ids -> `(batch, time)`, int32, padded at the right."""
    longest = max(map(len, rows))
    return np.array([[*row, *[PAD_ID] * (longest - len(row))] for row in rows], "int32")
