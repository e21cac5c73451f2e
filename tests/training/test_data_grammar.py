"""The English-French grammar: its French by hand, its size, and what it holds out."""

import collections
import itertools
import re

import pytest

from training.data.corpora import describe, load_corpus
from training.data.grammar_en_fr import drawing, english, french, parts
from training.data.grammar_en_fr.lexicon import LEXICON, Name, english_ed, english_s, french_plural
from training.data.grammar_en_fr.trees import (
    Action,
    Both,
    Clause,
    Phrase,
    Place,
    Quality,
    Report,
    Sentence,
)

NOUNS = {noun.english[0]: noun for noun in LEXICON.nouns}
ADJECTIVES = {adjective.english: adjective for adjective in LEXICON.adjectives}
VERBS = {f"{verb.english[0]} {verb.english_preposition}".strip(): verb for verb in LEXICON.verbs}
PRONOUNS = {pronoun.english: pronoun for pronoun in LEXICON.pronouns}
DETERMINERS = {word: d for d in LEXICON.determiners for word in d.english if word}
DETERMINERS["an"] = DETERMINERS["a"]
MODALS = {modal.english: modal for modal in LEXICON.modals}
NEGATIONS = dict(LEXICON.negations)
NEAR, IN = LEXICON.prepositions["anywhere"][0], LEXICON.prepositions["enclosed"][0]


def phrase(text, **more):
    """`phrase("the small white houses")`, in the number that its noun has."""
    determiner, *adjectives, noun = text.split()
    plural = noun not in NOUNS
    entry = next(n for n in LEXICON.nouns if n.english[plural] == noun)
    chosen = [ADJECTIVES[a] for a in adjectives]
    before = next((a for a in chosen if a.before_noun), None)
    after = next((a for a in chosen if not a.before_noun), None)
    return Phrase(DETERMINERS[determiner], entry, plural, before, after, **more)


def nominal(text):
    return PRONOUNS.get(text) or (phrase(text) if isinstance(text, str) and " " in text else text)


def clause(subject, verb, object=None, tense="present", place=None, **beside):
    for name, words in (("negation", NEGATIONS), ("adverb", dict(LEXICON.adverbs))):
        if name in beside:
            beside[name] = beside[name], words[beside[name]]
    if verb in ADJECTIVES:
        predicate = Quality(ADJECTIVES[verb], **beside)
    else:
        if "modal" in beside:
            beside["modal"] = MODALS[beside["modal"]]
        predicate = Action(VERBS[verb], nominal(object) if object else None, **beside)
    return Clause(tense, nominal(subject) if subject else None, predicate, place)


def translations(*clauses, **more):
    sentence = Sentence(clauses, **more)
    return english.write(sentence), french.write(sentence)


# === French, by hand ===


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("the tree", "l'arbre"),
        ("the egg", "l'œuf"),
        ("the small white houses", "les petites maisons blanches"),
        ("some small white houses", "de petites maisons blanches"),
        ("some white houses", "des maisons blanches"),
        ("a new hotel", "un nouvel hôtel"),
        ("an old man", "un vieil homme"),
        ("the old men", "les vieux hommes"),
        ("the old hero", "le vieux héros"),
        ("the old heroine", "la vieille héroïne"),
        ("the hero", "le héros"),
        ("the heroine", "l'héroïne"),
        ("a beautiful bird", "un bel oiseau"),
        ("some beautiful birds", "de beaux oiseaux"),
        ("my sword", "mon épée"),
        ("my old sword", "ma vieille épée"),
        ("his axe", "sa hache"),
        ("this bear", "cet ours"),
        ("this hedgehog", "ce hérisson"),
        ("this small bear", "ce petit ours"),
        ("these newspapers", "ces journaux"),
        ("the owls", "les hiboux"),
        ("their brown cow", "leur vache marron"),
        ("their brown cows", "leurs vaches marron"),
        ("many eggs", "beaucoup d'œufs"),
        ("many owls", "beaucoup de hiboux"),
        ("several happy horses", "plusieurs chevaux heureux"),
        ("every kind aunt", "chaque gentille tante"),
        ("two jealous women", "deux femmes jalouses"),
    ],
)
def test_phrases(words, expected):
    assert " ".join(english.nominal(phrase(words))) == words
    assert french.join(french.nominal(phrase(words))) == expected


@pytest.mark.parametrize(
    ("clauses", "more", "expected"),
    [
        ([clause("I", "love", "you")], {}, ("I love you.", "Je vous aime.")),
        (
            [clause("I", "love", "the tree")],
            {},
            ("I love the tree.", "J'aime l'arbre."),
        ),
        (
            [clause("he", "love", "she", negation="not")],
            {},
            ("He does not love her.", "Il ne l'aime pas."),
        ),
        (
            [clause("the king", "see", "a big tree", negation="not")],
            {},
            ("The king does not see a big tree.", "Le roi ne voit pas de grand arbre."),
        ),
        (
            [clause("we", "buy", "some apples", tense="past", negation="never")],
            {},
            ("We never bought any apples.", "Nous n'avons jamais acheté de pommes."),
        ),
        (
            [clause("I", "talk to", "a doctor", negation="no longer")],
            {},
            ("I no longer talk to a doctor.", "Je ne parle plus à un médecin."),
        ),
        (
            [clause("they", "obey", "the king", tense="future")],
            {},
            ("They will obey the king.", "Ils obéiront au roi."),
        ),
        (
            [clause("she", "answer", "the children", tense="past")],
            {},
            ("She answered the children.", "Elle a répondu aux enfants."),
        ),
        (
            [clause("we", "phone", "they", modal="want to")],
            {},
            ("We want to phone them.", "Nous voulons leur téléphoner."),
        ),
        (
            [clause("you", "find", "he", modal="can", negation="not")],
            {},
            ("You cannot find him.", "Vous ne pouvez pas le trouver."),
        ),
        (
            [clause("he", "see", "she", tense="past")],
            {},
            ("He saw her.", "Il l'a vue."),
        ),
        (
            [clause("he", "understand", "they", tense="past", negation="not")],
            {},
            ("He did not understand them.", "Il ne les a pas compris."),
        ),
        (
            [
                clause(
                    "the actresses", "arrive", tense="past", place=Place(NEAR, phrase("the bridge"))
                )
            ],
            {},
            ("The actresses arrived near the bridge.", "Les actrices sont arrivées près du pont."),
        ),
        (
            [clause("the mice", "sleep", place=Place(NEAR, phrase("some islands")))],
            {},
            ("The mice sleep near some islands.", "Les souris dorment près d'îles."),
        ),
        (
            [
                clause(
                    "she",
                    "swim",
                    tense="future",
                    adverb="often",
                    place=Place(NEAR, phrase("the school")),
                )
            ],
            {},
            ("She will often swim near the school.", "Elle nagera souvent près de l'école."),
        ),
        (
            [clause("we", "throw", "three stones"), clause("we", "eat")],
            {"conjunctions": (LEXICON.conjunctions[0],)},
            ("We throw three stones, and we eat.", "Nous lançons trois pierres, et nous mangeons."),
        ),
        (
            [
                clause("the boxes", "old", tense="past"),
                clause("he", "hesitate", tense="past", place=Place(IN, phrase("an inn"))),
            ],
            {"conjunctions": (LEXICON.conjunctions[2],), "time": LEXICON.times["past"][0]},
            (
                "Yesterday, the boxes were old because he hesitated in an inn.",
                "Hier, les boîtes étaient vieilles parce qu'il a hésité dans une auberge.",
            ),
        ),
        (
            [
                clause(
                    Phrase(
                        phrase("my aunt"),
                        NOUNS["house"],
                        before=ADJECTIVES["small"],
                        after=ADJECTIVES["white"],
                    ),
                    "famous",
                    tense="future",
                    negation="no longer",
                )
            ],
            {},
            (
                "My aunt's small white house will no longer be famous.",
                "La petite maison blanche de ma tante ne sera plus célèbre.",
            ),
        ),
        (
            [clause(Phrase(phrase("the king"), NOUNS["hat"], plural=True), "heavy")],
            {},
            ("The king's hats are heavy.", "Les chapeaux du roi sont lourds."),
        ),
        (
            [clause(Both(phrase("the cow"), phrase("the dog")), "happy")],
            {},
            ("The cow and the dog are happy.", "La vache et le chien sont heureux."),
        ),
        (
            [clause(Both(phrase("the cow"), Name("Alice", True)), "happy")],
            {},
            ("The cow and Alice are happy.", "La vache et Alice sont heureuses."),
        ),
        (
            [
                clause(
                    "he",
                    "keep",
                    phrase("the letters", relative=clause("she", "receive", tense="past")),
                    tense="past",
                )
            ],
            {},
            ("He kept the letters that she received.", "Il a gardé les lettres qu'elle a reçues."),
        ),
        (
            [
                clause(
                    phrase("the women", relative=clause(None, "listen to", "the hero")),
                    "laugh",
                    negation="not",
                )
            ],
            {},
            (
                "The women who listen to the hero do not laugh.",
                "Les femmes qui écoutent le héros ne rient pas.",
            ),
        ),
        (
            [clause("the child", "come", tense="future")],
            {"report": Report(PRONOUNS["they"], VERBS["know"])},
            ("They know that the child will come.", "Ils savent que l'enfant viendra."),
        ),
        (
            [clause(Name("Emma", True), "fall", tense="past", negation="not")],
            {"report": Report(phrase("the nurse"), VERBS["say"])},
            (
                "The nurse says that Emma did not fall.",
                "L'infirmière dit qu'Emma n'est pas tombée.",
            ),
        ),
        (
            [clause(Name("Paul", False), "wait for", "we", modal="must")],
            {},
            ("Paul must wait for us.", "Paul doit nous attendre."),
        ),
    ],
)
def test_sentences(clauses, more, expected):
    assert translations(*clauses, **more) == expected


@pytest.mark.parametrize(
    ("word", "present", "future", "participle"),
    [
        ("throw", "lance lance lançons lancez lancent", "lancera", "lancé"),
        ("travel", "voyage voyage voyageons voyagez voyagent", "voyagera", "voyagé"),
        ("find", "trouve trouve trouvons trouvez trouvent", "trouvera", "trouvé"),
        ("call", "appelle appelle appelons appelez appellent", "appellera", "appelé"),
        ("see", "vois voit voyons voyez voient", "verra", "vu"),
    ],
)
def test_conjugations(word, present, future, participle):
    verb = VERBS[word]
    assert verb.present == tuple(present.split())
    assert verb.future == tuple(f"{future[:-1]}{x}" for x in ("ai", "a", "ons", "ez", "ont"))
    assert verb.participle == participle


def test_rules_of_spelling():
    assert [english_s(word) for word in ("box", "city", "boy", "church", "cat")] == [
        *("boxes", "cities", "boys", "churches", "cats")
    ]
    assert [english_ed(word) for word in ("love", "cry", "play", "look")] == [
        *("loved", "cried", "played", "looked")
    ]
    assert [french_plural(word) for word in ("ours", "oiseau", "journal", "chat", "heureux")] == [
        *("ours", "oiseaux", "journaux", "chats", "heureux")
    ]


# === What the corpus is ===


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("grammar_en_fr")


@pytest.fixture(scope="module")
def longer():
    return load_corpus("grammar_en_fr", split="lengths", size=500)


def words(text):
    """`l'arbre` is two words; `king's` is one."""
    return re.findall(r"[dljmnqu]+'(?=\w)|aujourd'hui|\w+'s|\w+", text.lower())


def test_no_english_form_belongs_to_two_words():
    forms = collections.Counter()
    for noun in LEXICON.nouns:
        forms.update(set(noun.english))
    forms.update(adjective.english for adjective in LEXICON.adjectives)
    for verb in {verb.english for verb in LEXICON.verbs}:  # `look for` and `look at` share theirs
        forms.update(set(verb))
    assert not [form for form, count in forms.items() if count > 1]


def test_there_are_words_enough(corpus, longer):
    for side, unseen in ((0, 0), (1, 10)):
        known = {word for pair in corpus.train for word in words(pair[side])}
        assert len(known) >= 400
        # What is held out has no English word that training does not show, and of the French ones
        # some forms of a participle at most.
        held_out = corpus.valid + corpus.test + longer.test
        new = {word for pair in held_out for word in words(pair[side])} - known
        assert len(new) <= unseen, new


def test_there_are_a_million_sentences():
    """`<singular phrase> <verb> <phrase>` alone, where no verb form is a word of a phrase."""

    def phrases(kinds, plurals):
        return {
            " ".join(english.nominal(Phrase(determiner, noun, plural, None, adjective)))
            for noun in LEXICON.nouns
            if noun.kind in kinds
            for adjective in (None, *(a for a in LEXICON.adjectives if noun.kind in a.kinds))
            for plural in plurals
            for determiner in LEXICON.determiners
            if determiner.english[plural]
        }

    verbs = {v.english[1] for v in LEXICON.verbs if len(v.kinds) == 5 and not v.english_preposition}
    kinds = {noun.kind for noun in LEXICON.nouns}
    subjects, objects = phrases(["people", "animals"], [False]), phrases(kinds, [False, True])
    assert not verbs & {word for text in subjects | objects for word in text.split()}
    assert len(subjects) * len(verbs) * len(objects) > 1_000_000


def test_lengths(corpus, longer):
    for part in (corpus.train, corpus.valid, corpus.test):
        lengths = collections.Counter(len(source.split()) for source, _ in part)
        assert (min(lengths) >= 3, max(lengths)) == (True, 30)
    assert {len(source.split()) for source, _ in corpus.train} == set(range(3, 31))
    assert {len(source.split()) for source, _ in longer.test} == set(range(31, 41))
    # What is trained on is the same for both.
    same = load_corpus("grammar_en_fr", size=500)
    assert (longer.train, longer.valid) == (same.train, same.valid)


def test_no_sentence_is_in_two_parts_and_each_has_one_translation(corpus, longer):
    pairs = [*corpus.train, *corpus.valid, *corpus.test, *longer.test]
    assert len({source for source, _ in pairs}) == len(pairs) == 32_500
    counts = describe("grammar_en_fr")["splits"]["combinations"]["counts"]
    assert {name: len(getattr(corpus, name)) for name in counts} == counts


def combinations(text):
    """Every noun, adjective and verb of a sentence that are anywhere in it together."""
    found = [
        {LEMMAS[kind][word] for word in re.findall(r"\w+", text) if word in LEMMAS[kind]}
        for kind in ("noun", "adjective", "verb")
    ]
    return set(itertools.product(*found))


LEMMAS = {
    "noun": {form: noun.english[0] for noun in LEXICON.nouns for form in noun.english},
    "adjective": {adjective.english: adjective.english for adjective in LEXICON.adjectives},
    "verb": {form: verb.english[0] for verb in LEXICON.verbs for form in verb.english},
}


def test_combinations_are_held_out(corpus):
    """From the texts alone: no training sentence has the three words, in whatever order."""
    held_out = [source for source, _ in corpus.valid + corpus.test]
    new = set().union(*map(combinations, held_out))
    for source, _ in corpus.train:
        new -= combinations(source)
    for source in held_out:
        # In one of them at least the adjective stands before its noun, one other between at most.
        assert any(
            re.search(rf"\b{adjective} (\w+ )?{form}\b", source)
            for noun, adjective, _ in combinations(source) & new
            for form in NOUNS[noun].english
        ), source


def test_a_combination_stays_in_its_part():
    """Whatever the seed and the size; and each belongs to one part only."""
    counts = collections.Counter(
        drawing.part_of(noun, adjective, verb)
        for noun in LEXICON.nouns
        for adjective in LEXICON.adjectives
        for verb in LEXICON.verbs[:10]
    )
    assert counts["valid"] / counts["train"] == pytest.approx(1 / 198, rel=0.1)
    assert counts["test"] / counts["train"] == pytest.approx(1 / 198, rel=0.1)
    held = set()
    for source, _ in parts(size=100, seed=1)["test"]:
        held |= {c for c in combinations(source) if part(c) == "test"}
    for source, _ in parts(size=3000, seed=2)["train"]:
        assert not combinations(source) & held


def part(combination):
    noun, adjective, verb = combination
    entry = next(v for v in LEXICON.verbs if v.english[0] == verb)
    return drawing.part_of(NOUNS[noun], ADJECTIVES[adjective], entry)


def test_a_size_and_a_seed_make_a_corpus(corpus):
    small = load_corpus("grammar_en_fr", size=200)
    assert small.train == corpus.train[:200]
    assert small.hash == load_corpus("grammar_en_fr", size=200).hash
    assert parts(size=200, seed=1)["train"] != small.train
    short = load_corpus("grammar_en_fr", split="short", size=200)
    assert max(len(source.split()) for source, _ in short.train) == 8


def test_every_elision_and_contraction_is_made(corpus):
    vowel = r"[aeiouéèêàâîïôûœAEIOUÉ]"
    for _, text in corpus.train:
        lower = text.lower()
        missed = re.search(rf"\b(le|la|je|ne|de|me|que|ma|sa|ce) ({vowel}|h)\w*", lower)
        assert not missed or missed[0].split()[1] in LEXICON.aspirated, text
        wrong = re.search(rf"\b[ljdnm]'(?!{vowel}|h)|qu'(?!{vowel}|h)", lower)
        assert not wrong, text
        # `le` after `de` and `à` would be a pronoun, which the grammar never puts there.
        assert not re.search(r"\b(de (le|les|des|de)|à (le|les))\b", lower), text
        assert not re.search(r"\b(un|une|deux|trois|dix|ces|mes) (un|une|le|la|les)\b", lower), text


def test_no_part_of_a_sentence_is_left_open(corpus):
    for source, target in corpus.train[:5000]:
        for text in (source, target):
            assert text[0].isupper()
            assert re.fullmatch(r"[\w' ,]+\.", text), text
            assert "  " not in text
        assert not re.search(r"(?i)\ba [aeiou]", source), source
        assert not re.search(r"(?i)\ban (?![aeiou]|hon)", source), source
