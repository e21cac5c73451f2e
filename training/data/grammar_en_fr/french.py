"""The French sentence: agreement, word order, contraction and elision."""

import unicodedata
from dataclasses import dataclass

from training.data.grammar_en_fr.lexicon import LEXICON, Determiner, Name, Pronoun, Verb
from training.data.grammar_en_fr.trees import (
    Action,
    Both,
    Clause,
    Nominal,
    Phrase,
    Quality,
    Sentence,
)

# Of je, il, nous, vous, ils.
_AVOIR = ("ai", "a", "avons", "avez", "ont")
_ETRE = {
    "present": ("suis", "est", "sommes", "êtes", "sont"),
    "past": ("étais", "était", "étions", "étiez", "étaient"),
    "future": ("serai", "sera", "serons", "serez", "seront"),
}
_BEFORE_VOWEL = {
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "ne": "n'",
    "je": "j'",
    "me": "m'",
    "que": "qu'",
    "ce": "cet",
    "ma": "mon",
    "sa": "son",
}
_CONTRACTED = {
    ("de", "le"): "du",
    ("de", "les"): "des",
    ("de", "des"): "de",  # près de + des ponts = près de ponts
    ("de", "de"): "de",
    ("à", "le"): "au",
    ("à", "les"): "aux",
}


@dataclass(frozen=True)
class Agreement:
    """What a verb, an adjective or a participle takes on: `person` counts je, il, nous, ..."""

    person: int
    feminine: bool

    @property
    def plural(self) -> bool:
        return self.person >= 2


def write(sentence: Sentence) -> str:
    """`Hier, le vieil homme n'a pas vu d'arbres près de la rivière.`"""
    words = [*sentence.time[1].split(), ","] if sentence.time else []
    if sentence.report:
        subject = sentence.report.subject
        verb = sentence.report.verb.present[agreement(subject).person]
        words += [*nominal(subject), verb, "que"]
    words += clause(sentence.clauses[0])
    for (_, conjunction), following in zip(sentence.conjunctions, sentence.clauses[1:]):
        words += [*conjunction.split(), *clause(following)]
    text = join(words).replace(" ,", ",") + "."
    return text[0].upper() + text[1:]


def clause(tree: Clause, head: Phrase | None = None) -> list[str]:
    """The words of a clause; of a relative one, `head` is what it lacks."""
    subject = tree.subject or head
    assert subject is not None
    agrees = agreement(subject)
    words = nominal(tree.subject) if tree.subject else []
    if isinstance(tree.predicate, Action):
        moved = head if head and tree.subject else None
        words += action(tree.predicate, tree.tense, agrees, moved)
    else:
        words += quality(tree.predicate, tree.tense, agrees)
    if tree.place:
        words += [*tree.place.preposition[1].split(), *nominal(tree.place.phrase)]
    return words


def agreement(tree: Nominal) -> Agreement:
    """Person, number and gender; the masculine wins."""
    if isinstance(tree, Pronoun):
        return Agreement(tree.person, tree.feminine)
    if isinstance(tree, Name):
        return Agreement(1, tree.feminine)
    if isinstance(tree, Both):
        return Agreement(4, agreement(tree.first).feminine and agreement(tree.second).feminine)
    return Agreement(4 if tree.plural else 1, tree.noun.feminine)


def nominal(tree: Nominal, negated: bool = False) -> list[str]:
    """The words of a subject or an object; after a negation `un`, `une` and `des` are `de`."""
    if isinstance(tree, Pronoun):
        return [tree.french]
    if isinstance(tree, Name):
        return [tree.text]
    if isinstance(tree, Both):
        return [*nominal(tree.first), "et", *nominal(tree.second)]
    noun, plural = tree.noun, tree.plural
    words = [noun.french[plural]]
    if tree.before:
        form = tree.before.french[noun.feminine][plural]
        if not noun.feminine and not plural and begins_with_vowel(words[0]):
            form = tree.before.before_vowel
        words.insert(0, form)
    if tree.after:
        words.append(tree.after.french[noun.feminine][plural])
    if isinstance(tree.determiner, Determiner):
        determiner = tree.determiner.french[2 if plural else noun.feminine]
        preposed = plural and tree.before  # de grands livres
        if tree.determiner.kind == "indefinite" and (negated or preposed):
            determiner = "de"
        words = [*determiner.split(), *words]
    else:
        words = [
            "les" if plural else "la" if noun.feminine else "le",
            *words,
            "de",
            *nominal(tree.determiner),
        ]
    if tree.relative:
        words += ["que" if tree.relative.subject else "qui", *clause(tree.relative, tree)]
    return words


def action(tree: Action, tense: str, subject: Agreement, moved: Phrase | None) -> list[str]:
    """The words of verb and object; `moved` is an object that stands before, behind which `que`."""
    verb = tree.verb
    clitic, behind = [], []
    if isinstance(tree.object, Pronoun):
        clitic = [tree.object.indirect if verb.french_preposition else tree.object.direct]
    elif tree.object:
        behind = [verb.french_preposition] if verb.french_preposition else []
        behind += nominal(tree.object, bool(tree.negation) and not behind)
    ne, pas = (["ne"], [tree.negation[1]]) if tree.negation else ([], [])
    beside = [*pas, *([tree.adverb[1]] if tree.adverb else [])]
    if tree.modal:
        words = [*ne, tree.modal.french[subject.person], *beside, *clitic, verb.infinitive]
    elif tense == "past":
        auxiliary = (_ETRE["present"] if verb.etre else _AVOIR)[subject.person]
        words = [*ne, *clitic, auxiliary, *beside, participle(tree, subject, moved)]
    else:
        forms = verb.present if tense == "present" else verb.future
        words = [*ne, *clitic, forms[subject.person], *beside]
    return [*words, *behind]


def participle(tree: Action, subject: Agreement, moved: Phrase | None) -> str:
    """Agrees with the subject after `être`, else with a direct object that stands before it."""
    verb: Verb = tree.verb
    agrees = None
    if verb.etre:
        agrees = subject
    elif isinstance(tree.object, Pronoun) and not verb.french_preposition:
        agrees = agreement(tree.object)
    elif moved:
        agrees = agreement(moved)
    form = verb.participle
    if agrees is None:
        return form
    form += "e" * agrees.feminine
    return form if form.endswith("s") else form + "s" * agrees.plural


def quality(tree: Quality, tense: str, subject: Agreement) -> list[str]:
    """The words of `être` and its adjective."""
    ne = ["ne"] if tree.negation else []
    beside = [pair[1] for pair in (tree.negation, tree.adverb) if pair]
    adjective = tree.adjective.french[subject.feminine][subject.plural]
    return [*ne, _ETRE[tense][subject.person], *beside, adjective]


# === Sounds ===


def join(words: list[str]) -> str:
    """Words to text: contracts `de le`, and lets a vowel go before another one."""
    joined: list[str] = []
    for word in reversed(words):
        if (contracted := _CONTRACTED.get((word, joined[-1] if joined else ""))) is not None:
            word = contracted
            joined.pop()
        if joined and begins_with_vowel(joined[-1]):
            word = _BEFORE_VOWEL.get(word, word)
        if word.endswith("'"):
            word += joined.pop()
        joined.append(word)
    return " ".join(reversed(joined))


def begins_with_vowel(text: str) -> bool:
    """Whether a word or text begins with the sound of a vowel, a mute h left out."""
    word = text.split(" ")[0].lower()
    if word.startswith("h"):
        return word not in LEXICON.aspirated
    return unicodedata.normalize("NFD", word)[:1] in tuple("aeiouœ")
