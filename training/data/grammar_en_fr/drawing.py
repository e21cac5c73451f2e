"""Sentences drawn at random into parts that share no sentence and no held-out combination."""

import itertools
import random
import zlib
from collections.abc import Sequence

from training.data.grammar_en_fr import english, french
from training.data.grammar_en_fr.lexicon import (
    LEXICON,
    TENSES,
    Adjective,
    Determiner,
    Name,
    Noun,
    Pronoun,
    Verb,
)
from training.data.grammar_en_fr.trees import (
    Action,
    Both,
    Clause,
    Nominal,
    Pair,
    Phrase,
    Place,
    Quality,
    Report,
    Sentence,
)

VALID, TEST = 500, 1000
"""Sentences in each part."""


def parts(
    size: int | None = None,
    lengths: Sequence[int] = (3, 30),
    test_lengths: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, list[tuple[str, str]]]:
    """Pairs of texts in three parts, no sentence twice.

    A combination of noun, adjective and verb belongs to one part for good, whatever the size and
    the seed. No training sentence has all three words of one that belongs elsewhere; in each
    sentence of the validation and of the test part such a noun stands with its adjective beside
    its verb.

    Args:
        size: training sentences, 30,000 by default; fewer are the first of more.
        lengths: words of an English sentence, at least and at most.
        test_lengths: the same of the test part, where it is not new combinations but these that
            training does not show.
        seed: of the sentences.

    Returns:
        `(english, french)` by the name of the part.
    """
    train = _draw("train", lengths, 30_000 if size is None else size, seed, {})
    valid = _draw("valid", lengths, VALID, seed, train)
    kind = "any" if test_lengths else "test"
    test = _draw(kind, test_lengths or lengths, TEST, seed, train | valid)
    found = {"train": train, "valid": valid, "test": test}
    return {part: list(pairs.items()) for part, pairs in found.items()}


def part_of(noun: Noun, adjective: Adjective, verb: Verb) -> str:
    """The part that a combination belongs to: one of 200 to `valid`, one to `test`."""
    words = f"{noun.english[0]} {adjective.english} {verb.english[0]}"
    return {0: "valid", 1: "test"}.get(zlib.crc32(words.encode()) % 200, "train")


def _draw(part, lengths, size, seed, seen) -> dict[str, str]:
    """So many sentences of a part that are not among those seen, French by English."""
    rng = random.Random(f"{seed} {part}")
    found: dict[str, str] = {}
    while len(found) < size:
        drawer = Drawer(rng, part)
        sentence = drawer.sentence(rng.randint(*lengths))
        text = english.write(sentence)
        fits = lengths[0] <= len(text.split()) <= lengths[1] and drawer.fits()
        if fits and text not in seen and text not in found:
            found[text] = french.write(sentence)
    return found


# === Words by what they go with ===

_LIVING = ("people", "animals")
_PLACES = ("enclosed", "open")
_KINDS = (*_LIVING, "things", *_PLACES)
_NOUNS = {kind: [noun for noun in LEXICON.nouns if noun.kind == kind] for kind in _KINDS}
_ADJECTIVES = {kind: [a for a in LEXICON.adjectives if kind in a.kinds] for kind in _KINDS}
_TRANSITIVE = [verb for verb in LEXICON.verbs if set(verb.kinds) & set(_KINDS)]
_INTRANSITIVE = [verb for verb in LEXICON.verbs if not verb.kinds]
_REPORTING = [verb for verb in LEXICON.verbs if verb.kinds == ("clauses",)]
_GENDERED = [pronoun for pronoun in LEXICON.pronouns if pronoun.person in (1, 4)]


class Drawer:
    """Draws one sentence, and notes its nouns, adjectives and verbs.

    Args:
        rng: random numbers.
        part: `train`, `valid` or `test`, whose combinations are looked for, or `any`.
    """

    def __init__(self, rng: random.Random, part: str = "any"):
        self.rng, self.part = rng, part
        self.nouns: list[Noun] = []
        self.adjectives: list[Adjective] = []
        self.verbs: list[Verb] = []
        self.shows_its_part = False

    def fits(self) -> bool:
        """Whether the sentence that was drawn may stand in its part."""
        if self.part != "train":
            return self.shows_its_part or self.part == "any"
        words = itertools.product(set(self.nouns), set(self.adjectives), set(self.verbs))
        return all(part_of(*combination) == "train" for combination in words)

    def often(self, probability: float) -> bool:
        """True with that probability, less in a sentence that is to be short."""
        return self.rng.random() < probability * self.richness

    def sentence(self, words: int) -> Sentence:
        """A sentence of about so many words."""
        self.richness = min(1.0, words / 14)
        self.tense = self.rng.choice(TENSES)
        time = report = None
        if self.often(0.2):
            time = self.rng.choice(LEXICON.times[self.tense])
        elif self.often(0.2):
            report = Report(self.nominal(_LIVING), self.rng.choice(_REPORTING))
            self.verbs.append(report.verb)
        conjunctions = self.rng.sample(LEXICON.conjunctions, len(LEXICON.conjunctions))
        clauses = [self.clause()]
        left = words - len(english.clause(clauses[0]))
        while left >= 5 and len(clauses) <= len(conjunctions):
            clauses.append(self.clause())
            left -= 1 + len(english.clause(clauses[-1]))
        return Sentence(tuple(clauses), tuple(conjunctions[: len(clauses) - 1]), time, report)

    def clause(self) -> Clause:
        """A main clause."""
        negation = self.rng.choice(LEXICON.negations) if self.often(0.25) else None
        if self.rng.random() < 0.15:
            return self.description(negation)
        verb = self.rng.choice(_INTRANSITIVE if self.rng.random() < 1 / 6 else _TRANSITIVE)
        # `je suis arrivé` or `arrivée`: who speaks is not known.
        pronouns = _GENDERED if verb.etre and self.tense == "past" else LEXICON.pronouns
        subject = self.nominal(_LIVING, verb, negation, pronouns)
        place = self.place() if self.often(0.2) else None
        return Clause(self.tense, subject, self.action(verb, subject, negation), place)

    def description(self, negation: Pair | None) -> Clause:
        """Somebody or something is as an adjective says."""
        kind = self.rng.choice(_KINDS)
        subject = self.nominal([kind], None, negation, _GENDERED)
        known = (subject.before, subject.after) if isinstance(subject, Phrase) else ()
        adjective = self.rng.choice([a for a in _ADJECTIVES[kind] if a not in known])
        self.adjectives.append(adjective)
        adverb = None if negation else self.adverb()
        return Clause(self.tense, subject, Quality(adjective, adverb, negation))

    def action(self, verb: Verb, subject: Nominal, negation: Pair | None = None) -> Action:
        """The verb with its object and what stands beside it."""
        self.verbs.append(verb)
        object = None
        if verb.kinds:
            object = self.nominal(verb.kinds, verb, negation, _objects(verb, self.tense, subject))
        simple = negation is None or negation[0] == "not"
        if self.tense == "present" and simple and self.often(0.2):
            return Action(verb, object, None, negation, self.rng.choice(LEXICON.modals))
        return Action(verb, object, None if negation else self.adverb(), negation)

    def adverb(self) -> Pair | None:
        """Seldom one."""
        return self.rng.choice(LEXICON.adverbs) if self.often(0.15) else None

    def place(self) -> Place:
        """Where it is that something happens."""
        kind = self.rng.choice(_PLACES)
        prepositions = LEXICON.prepositions["anywhere"]
        if kind == "enclosed":
            prepositions += 3 * LEXICON.prepositions["enclosed"]
        return Place(self.rng.choice(prepositions), self.phrase([kind], plain=True, few=True))

    def nominal(
        self,
        kinds: Sequence[str],
        verb: Verb | None = None,
        negation: Pair | None = None,
        pronouns: Sequence[Pronoun] = LEXICON.pronouns,
    ) -> Nominal:
        """A subject or an object: a pronoun or a name for people, or one phrase or two.

        Args:
            kinds: of nouns.
            verb: beside which it stands, for the combinations that are looked for.
            negation: of the clause.
            pronouns: those that may stand here.
        """
        draw = self.rng.random()
        if "people" in kinds and draw < 0.3:
            return self.rng.choice(pronouns) if draw < 0.22 else self.rng.choice(LEXICON.names)
        if not negation and self.often(0.1):
            return Both(self.phrase(kinds, verb, plain=True), self.phrase(kinds, verb, plain=True))
        return self.phrase(kinds, verb, few=negation is not None)

    def phrase(
        self, kinds: Sequence[str], verb: Verb | None = None, plain: bool = False, few: bool = False
    ) -> Phrase:
        """A noun phrase.

        Args:
            kinds, verb: as for `nominal`.
            plain: without an owner and a relative clause.
            few: with an article or the like, and no `every` or `many`.
        """
        noun = self.rng.choice(_NOUNS[self.rng.choice(kinds)])
        self.nouns.append(noun)
        plural = self.rng.random() < 0.35
        before, after = self.adjectives_of(noun, verb)
        if not plain and self.often(0.1):
            return Phrase(self.owner(), noun, plural, before, after)
        phrase = Phrase(self.determiner(plural, few), noun, plural, before, after)
        if plain or not self.often(0.15):
            return phrase
        return Phrase(phrase.determiner, noun, plural, before, after, self.relative(phrase))

    def adjectives_of(self, noun: Noun, verb: Verb | None) -> tuple:
        """The adjectives before and after a noun in French, the part's own where there are any."""
        fitting, own = _ADJECTIVES[noun.kind], []
        if verb and self.part in ("valid", "test"):
            own = [a for a in fitting if part_of(noun, a, verb) == self.part]
            self.shows_its_part |= bool(own)
        if not own and not self.often(0.5):
            return None, None
        chosen = self.rng.choice(own or fitting)
        self.adjectives.append(chosen)
        if not self.often(0.2):
            return (chosen, None) if chosen.before_noun else (None, chosen)
        other = self.rng.choice([a for a in fitting if a.before_noun != chosen.before_noun])
        self.adjectives.append(other)
        return (chosen, other) if chosen.before_noun else (other, chosen)

    def determiner(self, plural: bool, few: bool) -> Determiner:
        """Most often an article."""
        draw = self.rng.random()
        kind = "indefinite" if draw < 0.25 else "definite" if few or draw < 0.8 else "quantities"
        fitting = [d for d in _DETERMINERS[kind] if d.english[plural]]
        return fitting[0] if draw < 0.5 else self.rng.choice(fitting)  # `the` is the first

    def owner(self) -> Phrase | Name:
        """Whose something is."""
        if self.rng.random() < 0.4:
            return self.rng.choice(LEXICON.names)
        noun = self.rng.choice(_NOUNS["people"])
        self.nouns.append(noun)
        return Phrase(self.rng.choice(_DETERMINERS["definite"]), noun)

    def relative(self, head: Phrase) -> Clause:
        """A clause that lacks the phrase as its subject or as its direct object."""
        if head.noun.kind in _LIVING and self.rng.random() < 0.5:
            verb = self.rng.choice(_TRANSITIVE)
            return Clause(self.tense, None, self.action(verb, head))
        fitting = [v for v in _TRANSITIVE if head.noun.kind in v.kinds and not v.french_preposition]
        verb = self.rng.choice(fitting)
        self.verbs.append(verb)
        return Clause(self.tense, self.nominal(_LIVING, verb), Action(verb))


_DETERMINERS = {
    kind: [d for d in LEXICON.determiners if d.kind == kind]
    for kind in ("definite", "indefinite", "quantities")
}


def _objects(verb: Verb, tense: str, subject: Nominal) -> list[Pronoun]:
    """The pronouns that may be the object: not of those who act, and of a gender that is known
    where the participle agrees with it."""
    agrees = tense == "past" and not verb.french_preposition
    allowed = _GENDERED if agrees else LEXICON.pronouns
    acting = subject.person if isinstance(subject, Pronoun) else 1
    same = {0: (0, 2), 2: (0, 2), 3: (3,)}.get(acting, ())  # I, we; you
    return [pronoun for pronoun in allowed if pronoun.person not in same]
