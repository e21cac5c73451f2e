"""The words of `datasets/grammar_en_fr/lexicon.toml` with their forms, those by rule filled in."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[3] / "datasets" / "grammar_en_fr" / "lexicon.toml"

TENSES = ("present", "past", "future")


@dataclass(frozen=True)
class Noun:
    """A noun: its forms, singular and plural, and the gender of the French one."""

    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool
    kind: str


@dataclass(frozen=True)
class Name:
    """A name, the same in both languages."""

    text: str
    feminine: bool


@dataclass(frozen=True)
class Adjective:
    """An adjective.

    Attributes:
        french: masculine and feminine, singular and plural: `french[feminine][plural]`.
        before_vowel: the masculine singular there, where it stands before its noun.
        before_noun: whether it stands there in French.
        kinds: of the nouns that it goes with.
    """

    english: str
    french: tuple[tuple[str, str], tuple[str, str]]
    before_vowel: str
    before_noun: bool
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """A verb; an empty preposition is none.

    Attributes:
        english: base, third person and past.
        present, future: of je, il, nous, vous and ils.
        participle: masculine singular.
        etre: whether its past is formed with `être`.
        kinds: of the nouns that may be its object.
    """

    english: tuple[str, str, str]
    english_preposition: str
    infinitive: str
    french_preposition: str
    present: tuple[str, ...]
    future: tuple[str, ...]
    participle: str
    etre: bool
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Modal:
    """What stands before an infinitive, in the present; `negated` is empty where `do` is used."""

    english: str
    third: str
    negated: str
    french: tuple[str, ...]


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun; `person` is the index of the French verb form beside it."""

    english: str
    english_object: str
    french: str
    direct: str
    indirect: str
    person: int
    feminine: bool


@dataclass(frozen=True)
class Determiner:
    """A determiner: singular and plural; masculine, feminine and plural. One may have one number.

    Attributes:
        kind: `definite`, `indefinite` or `quantities`.
    """

    english: tuple[str, str]
    french: tuple[str, str, str]
    kind: str


@dataclass(frozen=True)
class Lexicon:
    """All words; a pair of texts is English and French."""

    nouns: tuple[Noun, ...]
    names: tuple[Name, ...]
    adjectives: tuple[Adjective, ...]
    verbs: tuple[Verb, ...]
    modals: tuple[Modal, ...]
    pronouns: tuple[Pronoun, ...]
    determiners: tuple[Determiner, ...]
    prepositions: dict[str, tuple[tuple[str, str], ...]]
    adverbs: tuple[tuple[str, str], ...]
    negations: tuple[tuple[str, str], ...]
    times: dict[str, tuple[tuple[str, str], ...]]
    conjunctions: tuple[tuple[str, str], ...]
    aspirated: frozenset[str] = field(repr=False)


def load(path: Path = PATH) -> Lexicon:
    """Reads the file, whose comments say how its entries are written."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Lexicon(
        nouns=tuple(
            _noun(entry, group["gender"] == "feminine", group["kind"])
            for group in table["nouns"]
            for entry in group["words"]
        ),
        names=tuple(
            Name(text, gender == "feminine")
            for gender, texts in table["names"].items()
            for text in texts
        ),
        adjectives=tuple(
            _adjective(entry, group["before_noun"], tuple(group["kinds"]))
            for group in table["adjectives"]
            for entry in group["words"]
        ),
        verbs=tuple(
            _verb(entry, group.get("etre", False), tuple(group["kinds"]))
            for group in table["verbs"]
            for entry in group["words"]
        ),
        modals=tuple(_modal(english, entry) for english, entry in table["modals"].items()),
        pronouns=tuple(map(_pronoun, table["pronouns"]["words"])),
        determiners=tuple(
            _determiner(entry, kind)
            for kind, entries in table["determiners"].items()
            for entry in entries
        ),
        prepositions=_pairs(table["prepositions"]),
        adverbs=_pairs(table["adverbs"])["words"],
        negations=_pairs(table["negations"])["words"],
        times=_pairs(table["times"]),
        conjunctions=_pairs(table["conjunctions"])["words"],
        aspirated=frozenset(table["sounds"]["aspirated"]),
    )


def _pairs(table: dict[str, list[str]]) -> dict[str, tuple[tuple[str, str], ...]]:
    return {name: tuple(map(_sides, entries)) for name, entries in table.items()}


def _sides(entry: str) -> tuple[str, str]:
    english, french = entry.split(" = ")
    return english, french


def _noun(entry: str, feminine: bool, kind: str) -> Noun:
    english, french = (side.split("/") for side in _sides(entry))
    return Noun(
        (english[0], english[1] if english[1:] else english_s(english[0])),
        (french[0], french[1] if french[1:] else french_plural(french[0])),
        feminine,
        kind,
    )


def _adjective(entry: str, before_noun: bool, kinds: tuple[str, ...]) -> Adjective:
    english, side = _sides(entry)
    given = dict(enumerate(side.split("/")))
    masculine = given[0]
    feminine = given.get(1) or (masculine if masculine.endswith("e") else masculine + "e")
    plurals = given.get(2) or french_plural(masculine), given.get(3) or french_plural(feminine)
    return Adjective(
        english,
        ((masculine, plurals[0]), (feminine, plurals[1])),
        given.get(4, masculine),
        before_noun,
        kinds,
    )


def _verb(entry: str, etre: bool, kinds: tuple[str, ...]) -> Verb:
    left, right = _sides(entry)
    forms, _, english_preposition = left.partition(" ")
    base, _, past = forms.partition("/")
    infinitive, *others = right.split(" / ")
    infinitive, _, french_preposition = infinitive.partition(" ")
    present, future, participle = others or _regular(infinitive)
    stem = future.removesuffix("a")
    return Verb(
        (base, english_s(base), past or english_ed(base)),
        english_preposition,
        infinitive,
        french_preposition,
        tuple(present.split()),
        tuple(stem + ending for ending in ("ai", "a", "ons", "ez", "ont")),
        participle,
        etre,
        kinds,
    )


def _modal(english: str, entry: dict[str, Any]) -> Modal:
    return Modal(english, entry["third"], entry.get("negated", ""), tuple(entry["french"].split()))


def _pronoun(entry: str) -> Pronoun:
    (subject, object), (french, direct, indirect) = (side.split("/") for side in _sides(entry))
    person = {"je": 0, "il": 1, "elle": 1, "nous": 2, "vous": 3, "ils": 4}[french]
    return Pronoun(subject, object, french, direct, indirect, person, french == "elle")


def _determiner(entry: str, kind: str) -> Determiner:
    (singular, plural), (masculine, feminine, several) = (s.split("/") for s in _sides(entry))
    return Determiner((singular, plural), (masculine, feminine, several), kind)


# === Rules ===


def english_s(word: str) -> str:
    """The plural of a noun, or the third person of a verb: `boxes`, `cities`, `plays`."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def english_ed(word: str) -> str:
    """The past of a regular verb: `loved`, `cried`, `played`."""
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ied"
    return word + "ed"


def french_plural(word: str) -> str:
    """The plural of a noun or an adjective: `ours`, `oiseaux`, `journaux`, `chats`."""
    if word.endswith(("s", "x")):
        return word
    if word.endswith("eau"):
        return word + "x"
    if word.endswith("al"):
        return word[:-1] + "ux"
    return word + "s"


def _regular(infinitive: str) -> tuple[str, str, str]:
    """Present, future and participle of a verb in -er; `nous lançons`, `nous mangeons`."""
    stem = infinitive.removesuffix("er")
    soft = stem[:-1] + "ç" if stem.endswith("c") else stem + "e" * stem.endswith("g")
    present = f"{stem}e {stem}e {soft}ons {stem}ez {stem}ent"
    return present, f"{infinitive}a", f"{stem}é"


LEXICON = load()
