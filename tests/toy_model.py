"""A model of some lines for tests of decoding, whose next token depends on all before it.

`runpy.run_path` brings it to a test: folders of tests are no packages.
"""

import numpy as np

from zoo.contract import Decodable, Leaf, StateSpec
from zoo.tokenizers import train_characters

TOKENIZER = train_characters(["abcdefghij .\n"])


class Toy(Decodable):
    """Logits from a table at a number that all tokens before make up; a cache holds the tokens.

    A source is what stands before the prompt.

    Args:
        table: `(n, vocabulary_size)`; `None`: random logits.

    Attributes:
        steps: shapes of all calls.
    """

    state_spec = StateSpec(
        (
            Leaf("number", (), "int64"),
            Leaf("tokens", (None,), "int64", "cache", slots="positions"),
            Leaf("positions", (None,), "int32", "cache", initial=-1, slots="positions"),
        )
    )

    def __init__(self, table=None, vocabulary_size=TOKENIZER.vocabulary_size):
        random = np.random.default_rng(0).normal(size=(97, vocabulary_size)) * 3
        self.table = np.float32(random if table is None else table)
        self.steps = []

    def start(self, source_ids_or_batch):
        if isinstance(source_ids_or_batch, int):
            return self.state_spec.initial(source_ids_or_batch)
        state = self.state_spec.initial(len(source_ids_or_batch))
        return self.step(source_ids_or_batch, state)[1]

    def read(self, token_ids, state):
        self.steps.append(token_ids.shape)
        state = dict(state)
        logits = np.zeros((*token_ids.shape, self.table.shape[1]), "float32")
        for time, column in enumerate(token_ids.T):
            real = column != 0
            state["number"] = np.where(real, (5 * state["number"] + column) % 97, state["number"])
            logits[:, time] = self.table[state["number"] % len(self.table)]
        seen = (state["positions"] >= 0).sum(axis=1, keepdims=True)
        positions = np.where(token_ids != 0, seen + np.arange(token_ids.shape[1]), -1)
        state["positions"] = np.concatenate([state["positions"], positions], 1).astype("int32")
        state["tokens"] = np.concatenate([state["tokens"], token_ids], 1)
        self.state_spec.check(state)
        # What the number is made of is also in the cache: whoever moves rows moves both.
        for number, tokens in zip(state["number"], state["tokens"]):
            made = 0
            for token in tokens[tokens != 0]:
                made = (5 * made + token) % 97
            assert made == number
        return logits, state

    def attention(self, token_ids, state):
        """Token i of prompt and text looks at slot j with i / (j + 1)."""
        slots = {"layer_0/self": token_ids.shape[1], "cross": 1 + state["tokens"].shape[1]}
        batch, time = token_ids.shape
        return {
            name: np.tile(np.arange(time)[:, None] / (1 + np.arange(n)), (batch, 2, 1, 1))
            for name, n in slots.items()
        }
