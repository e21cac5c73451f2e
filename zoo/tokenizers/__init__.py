"""Text to token ids and back: characters, byte-pairs and words, on the `tokenizers` library.

Every tokenizer has the same three special tokens: `<pad>` = 0 (which stands for no token at all),
`<eos>` = 1 (before the first token and after the last one) and `<unk>` = 2. It is saved as one
`tokenizer.json` of that library, which says by its pre-tokenizer which mode it is:

| mode         | a token is                                      | `decode(encode(text))`          |
|--------------|-------------------------------------------------|---------------------------------|
| `characters` | a Unicode code point                            | `text`, but for unknown ones    |
| `byte_pairs` | some UTF-8 bytes, merged as in GPT-2            | `text`, always                  |
| `words`      | a word, or one character of punctuation         | `text` with its spacing tidied  |
| `whitespace` | what stands between spaces, as in PTB, WikiText | the words, a space between them |

No text is normalised: what is decomposed (NFD) stays so. Only in `whitespace` mode do the literals
`<unk>` and `<eos>` of a text mean the special tokens, since the data sets of that kind are written
so; in the other modes a text cannot name a special token.

The library's own names for the parts used here: https://huggingface.co/docs/tokenizers/components
"""

from zoo.tokenizers.detokenizer import Detokenizer
from zoo.tokenizers.tokenizer import EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID, Tokenizer
from zoo.tokenizers.trainers import (
    MODES,
    train,
    train_byte_pairs,
    train_characters,
    train_words,
)

__all__ = [
    "EOS_ID",
    "MODES",
    "PAD_ID",
    "SPECIAL_TOKENS",
    "UNK_ID",
    "Detokenizer",
    "Tokenizer",
    "train",
    "train_byte_pairs",
    "train_characters",
    "train_words",
]
