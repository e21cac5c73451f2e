"""English sentences and their French translations, from a grammar with agreement and elision.

Small enough for a translation model to learn in minutes, yet it cannot be done word by word:
determiners, adjectives, participles and verbs agree, some adjectives follow their noun, pronouns
stand before their verb, negation around it, an owner behind what is owned, `de le` becomes `du`,
and `le`, `de`, `ne`, `que` lose their vowel before another. Each English sentence has one
translation, which is the reference.

| module       | has                                                              |
|--------------|------------------------------------------------------------------|
| `lexicon.py` | the words, from `datasets/grammar_en_fr/lexicon.toml`            |
| `trees.py`   | what a sentence is made of                                       |
| `english.py` | writes it in English                                             |
| `french.py`  | writes it in French                                              |
| `drawing.py` | draws sentences at random, and keeps what is held out apart      |
"""

from training.data.grammar_en_fr.drawing import parts

__all__ = ["parts"]
