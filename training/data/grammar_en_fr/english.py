"""The English sentence."""

from training.data.grammar_en_fr.lexicon import Name, Pronoun
from training.data.grammar_en_fr.trees import (
    Action,
    Both,
    Clause,
    Nominal,
    Phrase,
    Quality,
    Sentence,
)


def write(sentence: Sentence) -> str:
    """`Yesterday, the old man did not see any trees near the river.`"""
    words = [sentence.time[0] + ","] if sentence.time else []
    if sentence.report:
        verb = sentence.report.verb.english
        words += nominal(sentence.report.subject)
        words += [verb[is_third(sentence.report.subject)], "that"]
    words += clause(sentence.clauses[0])
    for (conjunction, _), following in zip(sentence.conjunctions, sentence.clauses[1:]):
        words += [conjunction, *clause(following)]
    text = " ".join(words).replace(" ,", ",") + "."
    return text[0].upper() + text[1:]


def clause(tree: Clause, head: Nominal | None = None) -> list[str]:
    """The words of a clause; `head` is what it lacks of its subject, if it does."""
    subject = tree.subject or head
    assert subject is not None
    words = nominal(tree.subject) if tree.subject else []
    if isinstance(tree.predicate, Action):
        words += action(tree.predicate, tree.tense, is_third(subject))
    else:
        words += quality(tree.predicate, tree.tense, subject)
    if tree.place:
        words += [tree.place.preposition[0], *nominal(tree.place.phrase)]
    return words


def nominal(tree: Nominal, negated: bool = False) -> list[str]:
    """The words of a subject or an object; after a negation `some` becomes `any`."""
    if isinstance(tree, Pronoun):
        return [tree.english]
    if isinstance(tree, Name):
        return [tree.text]
    if isinstance(tree, Both):
        return [*nominal(tree.first), "and", *nominal(tree.second)]
    adjectives = [adjective.english for adjective in (tree.before, tree.after) if adjective]
    words = [*adjectives, tree.noun.english[tree.plural]]
    if isinstance(tree.determiner, Name | Phrase):
        *owner, last = nominal(tree.determiner)
        words = [*owner, last + "'s", *words]
    else:
        determiner = tree.determiner.english[tree.plural]
        if determiner == "some" and negated:
            determiner = "any"
        if determiner == "a" and words[0].lower().startswith(("a", "e", "i", "o", "u", "hon")):
            determiner = "an"
        words = [determiner, *words]
    if tree.relative:
        lacks_subject = tree.relative.subject is None
        who = "who" if lacks_subject and tree.noun.kind == "people" else "that"
        words += [who, *clause(tree.relative, tree)]
    return words


def action(tree: Action, tense: str, third: bool) -> list[str]:
    """The words of verb and object, such as `does not look for any trees`."""
    base, third_person, past = tree.verb.english
    negation = tree.negation[0] if tree.negation else ""
    adverb = [negation] if negation not in ("", "not") else []
    adverb += [tree.adverb[0]] if tree.adverb else []
    negated = negation == "not"
    do = "did" if tense == "past" else "does" if third else "do"
    if tree.modal and negated:
        words = [tree.modal.negated] if tree.modal.negated else [do, "not", tree.modal.english]
        words.append(base)
    elif tree.modal:
        words = [tree.modal.third if third else tree.modal.english, base]
    elif tense == "future":
        words = ["will", *["not"] * negated, *adverb, base]
    elif negated:
        words = [do, "not", base]
    else:
        words = [*adverb, past if tense == "past" else third_person if third else base]
    if tree.verb.english_preposition:
        words.append(tree.verb.english_preposition)
    if isinstance(tree.object, Pronoun):
        words.append(tree.object.english_object)
    elif tree.object:
        words += nominal(tree.object, bool(negation))
    return words


def quality(tree: Quality, tense: str, subject: Nominal) -> list[str]:
    """The words of `to be` and its adjective, such as `is no longer white`."""
    if tense == "future":
        verb = ["will", "be"]
    elif is_third(subject):
        verb = ["was" if tense == "past" else "is"]
    else:
        verb = ["were" if tense == "past" else "are"]
    beside = [pair[0] for pair in (tree.negation, tree.adverb) if pair]
    return [verb[0], *beside, *verb[1:], tree.adjective.english]


def is_third(subject: Nominal) -> bool:
    """Whether the verb beside it ends in -s."""
    if isinstance(subject, Pronoun):
        return subject.person == 1
    return not isinstance(subject, Both) and not (isinstance(subject, Phrase) and subject.plural)
