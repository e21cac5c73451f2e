"""English sentences and their French translations, from a small grammar with agreement and elision.

Small enough that a translation model learns it in minutes on a CPU, yet word by word it cannot be
done: determiners, adjectives and verbs agree with their noun, some adjectives follow it, and
`le`, `la`, `de`, `ne`, `je` lose their vowel before another. Each English sentence has one
translation only. To widen it, add a row to `NOUNS`, `ADJECTIVES`, `VERBS` or `PLACES`.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple


class Noun(NamedTuple):
    """A noun; `feminine` is the gender of the French one."""

    english: str
    english_plural: str
    french: str
    french_plural: str
    feminine: bool


class Adjective(NamedTuple):
    """An adjective, its French forms, and whether that stands `before` its noun.

    `before_vowel` is the masculine singular there, in front of a vowel (`vieil`).
    """

    english: str
    masculine: str
    feminine: str
    masculine_plural: str
    before: bool
    before_vowel: str = ""


class Verb(NamedTuple):
    """A transitive verb in the present tense; its French forms are in the order of `_PERSONS`."""

    english: str
    english_third: str
    french: tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Phrase:
    """A noun phrase: its determiner, its noun, its adjective if any, and its number."""

    determiner: str
    noun: Noun
    adjective: Adjective | None
    plural: bool


@dataclass(frozen=True)
class Sentence:
    """Subject (a phrase or a pronoun), verb, object, and a place if any."""

    subject: Phrase | str
    verb: Verb
    object: Phrase
    negated: bool
    place: tuple[str, str] | None


NOUNS = (
    Noun("cat", "cats", "chat", "chats", False),
    Noun("dog", "dogs", "chien", "chiens", False),
    Noun("horse", "horses", "cheval", "chevaux", False),
    Noun("bird", "birds", "oiseau", "oiseaux", False),
    Noun("man", "men", "homme", "hommes", False),
    Noun("child", "children", "enfant", "enfants", False),
    Noun("tree", "trees", "arbre", "arbres", False),
    Noun("book", "books", "livre", "livres", False),
    Noun("queen", "queens", "reine", "reines", True),
    Noun("flower", "flowers", "fleur", "fleurs", True),
    Noun("cow", "cows", "vache", "vaches", True),
    Noun("house", "houses", "maison", "maisons", True),
    Noun("letter", "letters", "lettre", "lettres", True),
    Noun("school", "schools", "école", "écoles", True),
    Noun("star", "stars", "étoile", "étoiles", True),
    Noun("island", "islands", "île", "îles", True),
)
ADJECTIVES = (
    Adjective("big", "grand", "grande", "grands", before=True),
    Adjective("small", "petit", "petite", "petits", before=True),
    Adjective("old", "vieux", "vieille", "vieux", before=True, before_vowel="vieil"),
    Adjective("beautiful", "beau", "belle", "beaux", before=True, before_vowel="bel"),
    Adjective("other", "autre", "autre", "autres", before=True),
    Adjective("blue", "bleu", "bleue", "bleus", before=False),
    Adjective("light", "léger", "légère", "légers", before=False),
    Adjective("strange", "étrange", "étrange", "étranges", before=False),
    Adjective("quiet", "tranquille", "tranquille", "tranquilles", before=False),
    Adjective("happy", "heureux", "heureuse", "heureux", before=False),
)
VERBS = (
    Verb("see", "sees", ("vois", "voit", "voyons", "voyez", "voient")),
    Verb("find", "finds", ("trouve", "trouve", "trouvons", "trouvez", "trouvent")),
    Verb("draw", "draws", ("dessine", "dessine", "dessinons", "dessinez", "dessinent")),
    Verb("like", "likes", ("aime", "aime", "aimons", "aimez", "aiment")),
    Verb("hear", "hears", ("entends", "entend", "entendons", "entendez", "entendent")),
    Verb("await", "awaits", ("attends", "attend", "attendons", "attendez", "attendent")),
)
PLACES = (
    ("in the garden", "dans le jardin"),
    ("near the river", "près de la rivière"),
    ("behind the church", "derrière l'église"),
    ("in front of the station", "devant la gare"),
)
PRONOUNS = {"I": "je", "he": "il", "she": "elle", "we": "nous", "you": "vous"}

_PERSONS = ("je", "il", "nous", "vous", "ils")
_DETERMINERS = ("the", "a", "this", "my")
_ENGLISH_PLURAL = {"the": "the", "a": "some", "this": "these", "my": "my"}
_FRENCH = {  # masculine, feminine, plural
    "the": ("le", "la", "les"),
    "a": ("un", "une", "des"),
    "this": ("ce", "cette", "ces"),
    "my": ("mon", "ma", "mes"),
}
_BEFORE_VOWEL = {
    "ce": "cet",
    "ma": "mon",
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "ne": "n'",
    "je": "j'",
}


def parts(
    sizes: tuple[int, int, int] = (8000, 500, 500), seed: int = 0
) -> dict[str, list[tuple[str, str]]]:
    """Training, validation and test pairs, no sentence twice.

    A tenth of all combinations of adjective and noun is kept for the validation part and another
    for the test part: each of its sentences has such a combination, no sentence elsewhere does.

    Args:
        sizes: pairs in each part.
        seed: of Python's own generator; equal seeds give equal parts.

    Returns:
        `(english, french)` pairs by the name of the part.
    """
    rng = random.Random(seed)
    combinations = [(adjective, noun) for adjective in ADJECTIVES for noun in NOUNS]
    rng.shuffle(combinations)
    tenth = len(combinations) // 10
    held_out = {"valid": set(combinations[:tenth]), "test": set(combinations[tenth : 2 * tenth])}
    wanted = dict(zip(("train", "valid", "test"), sizes, strict=True))
    pairs: dict[str, dict[str, str]] = {part: {} for part in wanted}
    while any(len(pairs[part]) < wanted[part] for part in wanted):
        sentence = draw(rng)
        phrases = [p for p in (sentence.subject, sentence.object) if isinstance(p, Phrase)]
        shown = {(phrase.adjective, phrase.noun) for phrase in phrases}
        held = [part for part, kept in held_out.items() if shown & kept]
        part = held[0] if held else "train"
        if len(held) < 2 and len(pairs[part]) < wanted[part]:
            pairs[part][english(sentence)] = french(sentence)
    return {part: list(found.items()) for part, found in pairs.items()}


def draw(rng: random.Random) -> Sentence:
    """A random sentence."""

    def phrase() -> Phrase:
        adjective = rng.choice(ADJECTIVES) if rng.random() < 0.7 else None
        return Phrase(rng.choice(_DETERMINERS), rng.choice(NOUNS), adjective, rng.random() < 0.4)

    return Sentence(
        subject=rng.choice(list(PRONOUNS)) if rng.random() < 0.3 else phrase(),
        verb=rng.choice(VERBS),
        object=phrase(),
        negated=rng.random() < 0.25,
        place=rng.choice(PLACES) if rng.random() < 0.3 else None,
    )


def english(sentence: Sentence) -> str:
    """`the old man does not see a big tree in the garden.`"""
    subject, verb = sentence.subject, sentence.verb
    if isinstance(subject, Phrase):
        words, third = _english_phrase(subject), not subject.plural
    else:
        words, third = [subject], subject in ("he", "she")
    if sentence.negated:
        words += ["does" if third else "do", "not", verb.english]
    else:
        words.append(verb.english_third if third else verb.english)
    words += _english_phrase(sentence.object, sentence.negated)
    words += [sentence.place[0]] if sentence.place else []
    return " ".join(words) + "."


def french(sentence: Sentence) -> str:
    """`le vieil homme ne voit pas de grand arbre dans le jardin.`"""
    subject, negated = sentence.subject, sentence.negated
    if isinstance(subject, Phrase):
        words, person = _french_phrase(subject), "ils" if subject.plural else "il"
    else:
        pronoun = PRONOUNS[subject]
        words, person = [pronoun], "il" if pronoun == "elle" else pronoun
    verb = sentence.verb.french[_PERSONS.index(person)]
    words += ["ne", verb, "pas"] if negated else [verb]
    words += _french_phrase(sentence.object, negated)
    words += sentence.place[1].split() if sentence.place else []
    return _elide(words) + "."


def _english_phrase(phrase: Phrase, negated: bool = False) -> list[str]:
    words = [phrase.adjective.english] if phrase.adjective else []
    words.append(phrase.noun.english_plural if phrase.plural else phrase.noun.english)
    determiner = _ENGLISH_PLURAL[phrase.determiner] if phrase.plural else phrase.determiner
    if determiner == "some" and negated:
        determiner = "any"
    if determiner == "a" and words[0][0] in "aeiou":
        determiner = "an"
    return [determiner, *words]


def _french_phrase(phrase: Phrase, negated: bool = False) -> list[str]:
    noun, adjective = phrase.noun, phrase.adjective
    words = [noun.french_plural if phrase.plural else noun.french]
    if adjective:
        if noun.feminine:
            form = adjective.feminine + "s" * phrase.plural
        elif phrase.plural:
            form = adjective.masculine_plural
        else:
            vowel = adjective.before_vowel and _begins_with_vowel(words[0])
            form = adjective.before_vowel if vowel else adjective.masculine
        words.insert(0 if adjective.before else 1, form)
    determiner = _FRENCH[phrase.determiner][2 if phrase.plural else noun.feminine]
    # "pas de livre" after a negation; "de grands livres" where an adjective comes first.
    preposed = phrase.plural and adjective is not None and adjective.before
    if phrase.determiner == "a" and (negated or preposed):
        determiner = "de"
    return [determiner, *words]


def _elide(words: list[str]) -> str:
    text = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if _begins_with_vowel(following):
            word = _BEFORE_VOWEL.get(word, word)
        text += word if word.endswith("'") else word + " "
    return text.strip()


def _begins_with_vowel(word: str) -> bool:
    return word[:1] in tuple("aeiouéêî") or word.startswith(("homme", "heureu"))  # a mute h
