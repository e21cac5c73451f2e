"""What a sentence is made of, before it is written in either language."""

from dataclasses import dataclass
from typing import Union

from training.data.grammar_en_fr.lexicon import (
    Adjective,
    Determiner,
    Modal,
    Name,
    Noun,
    Pronoun,
    Verb,
)

Pair = tuple[str, str]
"""English and French words that stand for each other."""


@dataclass(frozen=True)
class Phrase:
    """`the small white houses that ...`.

    Attributes:
        determiner: or the owner, as in `my aunt's houses`.
        before, after: the adjective that French puts there.
        relative: a clause from which this phrase is missing, as its subject or as its object.
    """

    determiner: Union[Determiner, "Phrase", Name]
    noun: Noun
    plural: bool = False
    before: Adjective | None = None
    after: Adjective | None = None
    relative: Union["Clause", None] = None


@dataclass(frozen=True)
class Both:
    """`the cat and the dog`."""

    first: Phrase | Name
    second: Phrase | Name


Nominal = Phrase | Name | Both | Pronoun


@dataclass(frozen=True)
class Action:
    """`often sees the cat`; at most one of adverb, negation and modal but for `cannot`.

    Attributes:
        object: None also where a relative clause has taken it away.
    """

    verb: Verb
    object: Nominal | None = None
    adverb: Pair | None = None
    negation: Pair | None = None
    modal: Modal | None = None


@dataclass(frozen=True)
class Quality:
    """`is never white`."""

    adjective: Adjective
    adverb: Pair | None = None
    negation: Pair | None = None


@dataclass(frozen=True)
class Place:
    """`near the river`."""

    preposition: Pair
    phrase: Phrase


@dataclass(frozen=True)
class Clause:
    """`the cat sleeps near the river`; without its subject where that is what a relative lacks."""

    tense: str
    subject: Nominal | None
    predicate: Action | Quality
    place: Place | None = None


@dataclass(frozen=True)
class Report:
    """`she thinks that`: what a sentence may begin with."""

    subject: Nominal
    verb: Verb


@dataclass(frozen=True)
class Sentence:
    """Clauses in a row, with a time before them and conjunctions between them."""

    clauses: tuple[Clause, ...]
    conjunctions: tuple[Pair, ...] = ()
    time: Pair | None = None
    report: Report | None = None
