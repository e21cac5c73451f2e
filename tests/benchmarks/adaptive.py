"""BentoML's adaptive batching over a bundle and the same decoder, for `batching.py`."""

import os

import bentoml
from pydantic import BaseModel

from zoo.bundle import Bundle
from zoo.decoding import Options, Request, generate


class Asked(BaseModel):
    """A text to be written."""

    prompt: str
    max_tokens: int


@bentoml.service(traffic={"timeout": 600})
class Adaptive:
    """Whole texts, those that arrive together in one batch."""

    def __init__(self):
        self.bundle = Bundle(os.environ["ZOO_BUNDLE"])

    @bentoml.api(
        batchable=True,
        max_batch_size=int(os.environ.get("ZOO_BATCH", "32")),
        max_latency_ms=int(os.environ.get("ZOO_LATENCY_MS", "600000")),
    )
    def generate(self, asked: list[Asked]) -> list[int]:
        """Counts of tokens."""
        tokenizer = self.bundle.tokenizer
        requests = [
            Request.of(
                tokenizer,
                one.prompt,
                options=Options(max_tokens=one.max_tokens, suppress_ids=(tokenizer.eos_id,)),
            )
            for one in asked
        ]
        return [len(result.token_ids) for result in generate(self.bundle, tokenizer, requests)]
