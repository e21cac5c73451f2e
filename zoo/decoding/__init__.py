"""Text from any model that keeps the contract: a Keras task or an ONNX bundle. NumPy alone.

A `Decoder` holds the rows that are written together. Each step reads one token a row and chooses
the next ones; what is chosen is a matter of small parts that know no model:

| part     | says                                | where           |
|----------|-------------------------------------|-----------------|
| options  | what a caller may ask for           | `options.py`    |
| filter   | which tokens are possible           | `filters.py`    |
| strategy | which of them comes next            | `strategies.py` |
| row      | what is written so far, and its end | `rows.py`       |
| text     | characters from tokens, stop strings | `text.py`      |

The parts and the loop that no new rule changes are in the manner of OpenAI Whisper's `decoding.py`.
"""

from zoo.decoding.decoder import Decoder, Result, generate, next_tokens, stream
from zoo.decoding.options import InvalidOption, Options
from zoo.decoding.rows import FinishReason, Piece, Request

__all__ = [
    "Decoder",
    "FinishReason",
    "InvalidOption",
    "Options",
    "Piece",
    "Request",
    "Result",
    "generate",
    "next_tokens",
    "stream",
]
