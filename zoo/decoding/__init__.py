"""Text from any model that keeps the contract: a Keras task or an ONNX bundle. NumPy alone.

A `Decoder` holds the requests that are written together, one row each or, in a beam search, as many
as there are beams. Each step reads one token a row and chooses the next ones; what is chosen is a
matter of small parts that know no model:

| part     | says                                        | where            |
|----------|---------------------------------------------|------------------|
| options  | what a caller may ask for                   | `options.py`     |
| filter   | which tokens are possible                   | `filters.py`     |
| strategy | which of them may come next                 | `strategies.py`  |
| search   | which texts go on, which end, which is best | `search.py`      |
| text     | characters from tokens, stop strings        | `text.py`        |

The parts and the loop that no new rule changes are in the manner of OpenAI Whisper's `decoding.py`.
"""

from zoo.decoding.decoder import Decoder, check_request, generate, stream
from zoo.decoding.options import InvalidOption, Options
from zoo.decoding.request import FinishReason, Piece, Request, Result, Top
from zoo.decoding.scoring import (
    Parts,
    embed_in_parts,
    next_in_parts,
    next_tokens,
    prompt_reader,
    room,
    score,
    score_in_parts,
)

__all__ = [
    "Decoder",
    "FinishReason",
    "InvalidOption",
    "Options",
    "Parts",
    "Piece",
    "Request",
    "Result",
    "Top",
    "check_request",
    "embed_in_parts",
    "generate",
    "next_in_parts",
    "next_tokens",
    "prompt_reader",
    "room",
    "score",
    "score_in_parts",
    "stream",
]
