"""Translations of many sentences, and how near they come to those of people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

from zoo.command_line import MAX_TOKENS as MAX_TOKENS
from zoo.command_line import translate as translate

# === Scores ===


@dataclass(frozen=True)
class Quality:
    """How near translations come to their references, by sacrebleu.

    Attributes:
        bleu: Papineni et al. 2002, from 0 to 100.
        chrf: chrF2, Popović 2015, from 0 to 100.
        signature, chrf_signature: what sacrebleu did to count so (Post 2018, W18-6319).
    """

    bleu: float
    chrf: float
    signature: str
    chrf_signature: str


def quality(outputs: Sequence[str], references: Sequence[str], lowercase: bool = False) -> Quality:
    """Scores texts as people write them, not cut into tokens.

    Args:
        outputs: translations.
        references: one of each.
        lowercase: take upper and lower case for equal.
    """
    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    return Quality(
        bleu.corpus_score(list(outputs), [list(references)]).score,
        chrf.corpus_score(list(outputs), [list(references)]).score,
        str(bleu.get_signature()),
        str(chrf.get_signature()),
    )


@dataclass(frozen=True)
class Band:
    """The BLEU of sources of some lengths.

    Attributes:
        first, last: words of a source, at least and at most.
        count: sources.
        bleu: of all of them together.
    """

    first: int
    last: int
    count: int
    bleu: float


def score(model, pairs: Sequence[tuple[str, str]], lowercase: bool = False) -> Quality:
    """Scores greedy translations of sources against the texts beside them."""
    outputs = [result.text for result in translate(model, [source for source, _ in pairs])]
    return quality(outputs, [reference for _, reference in pairs], lowercase)


def by_length(
    sources: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[str],
    lowercase: bool = False,
    width: int = 5,
) -> list[Band]:
    """BLEU by the length of the source, as in figure 2 of Bahdanau et al. 2015.

    Args:
        sources: their words are what stands between spaces.
        outputs, references, lowercase: as for `quality`.
        width: lengths that are taken together.

    Returns:
        The bands that have a source, the shortest first.
    """
    members: dict[int, list[int]] = {}
    for i, source in enumerate(sources):
        members.setdefault((max(1, len(source.split())) - 1) // width, []).append(i)
    bands = []
    for number, rows in sorted(members.items()):
        chosen = [outputs[i] for i in rows], [references[i] for i in rows]
        bleu = quality(*chosen, lowercase).bleu
        bands.append(Band(number * width + 1, (number + 1) * width, len(rows), bleu))
    return bands


def draw_by_length(axes, models: Mapping[str, Sequence[Band]], colors=None) -> None:
    """Draws the BLEU of the bands of each model, and how many sources they have."""
    for name, bands in models.items():
        middles = [(band.first + band.last) / 2 for band in bands]
        scores = [band.bleu for band in bands]
        axes.plot(middles, scores, "o-", label=name, color=(colors or {}).get(name))
    axes.set_xticks(middles, [f"{band.first}-{band.last}\n({band.count})" for band in bands])
    axes.set_ylim(0, 105)
    axes.set_xlabel("words of the source (and how many sources)")
    axes.set_ylabel("BLEU")
