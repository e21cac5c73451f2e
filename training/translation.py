"""Translations of many sentences, and how near they come to those of people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics import BLEU, CHRF

from zoo.command_line import MAX_TOKENS as MAX_TOKENS
from zoo.command_line import translate as translate
from zoo.decoding import Options

# === Scores ===

BEAM = Options(max_tokens=MAX_TOKENS, beam_size=5, length_penalty=0.6)
"""The beam search whose scores are noted beside those of greedy decoding; the penalty is that of
Vaswani et al. 2017, section 6.1."""


@dataclass(frozen=True)
class Quality:
    """How near translations come to their references, by sacrebleu.

    Attributes:
        bleu, bleu_lowercase: Papineni et al. 2002, from 0 to 100; the second takes upper and lower
            case for equal.
        chrf: chrF2, Popović 2015, from 0 to 100.
        signature, signature_lowercase, chrf_signature: what sacrebleu did to count so (Post 2018,
            W18-6319).
    """

    bleu: float
    bleu_lowercase: float
    chrf: float
    signature: str
    signature_lowercase: str
    chrf_signature: str

    @property
    def scores(self) -> dict[str, float]:
        """The numbers, by their names."""
        return {name: getattr(self, name) for name in ("bleu", "bleu_lowercase", "chrf")}


def quality(outputs: Sequence[str], references: Sequence[str]) -> Quality:
    """Scores texts as people write them, not cut into tokens.

    Args:
        outputs: translations.
        references: one of each.
    """
    metrics = BLEU(), BLEU(lowercase=True), CHRF()
    scores = [each.corpus_score(list(outputs), [list(references)]).score for each in metrics]
    return Quality(*scores, *(str(each.get_signature()) for each in metrics))


def ways(options: Options) -> dict[str, Options]:
    """What is scored for somebody who asks for these options: beside a beam, greedy decoding."""
    if options.beam_size > 1:
        greedy = Options(max_tokens=options.max_tokens)
        return {"greedy": greedy, f"beam_{options.beam_size}": options}
    return {"sampled" if options.temperature else "greedy": options}


def outputs(model, sources: Sequence[str], options: Options | None = None) -> list[str]:
    """The translation of each source; equal ones are translated once. Arguments: `translate`'s."""
    distinct = list(dict.fromkeys(sources))
    results = translate(model, distinct, options)
    texts = {source: result.text for source, result in zip(distinct, results)}
    return [texts[source] for source in sources]


def score(model, pairs: Sequence[tuple[str, str]], options: Options | None = None) -> Quality:
    """Scores the translations of sources against the texts beside them, greedy ones by default."""
    sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
    return quality(outputs(model, sources, options), references)


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
        outputs, references: as for `quality`.
        lowercase: take upper and lower case for equal.
        width: lengths that are taken together.

    Returns:
        The bands that have a source, the shortest first.
    """
    members: dict[int, list[int]] = {}
    for i, source in enumerate(sources):
        members.setdefault((max(1, len(source.split())) - 1) // width, []).append(i)
    bands = []
    for number, rows in sorted(members.items()):
        bleu = BLEU(lowercase=lowercase).corpus_score(
            [outputs[i] for i in rows], [[references[i] for i in rows]]
        )
        bands.append(Band(number * width + 1, (number + 1) * width, len(rows), bleu.score))
    return bands


def draw_by_length(axes, models: Mapping[str, Sequence[Band]], colors=None) -> None:
    """Draws the BLEU of the bands of each model, and how many sources they have."""
    counts: dict[tuple[int, int], set[int]] = {}
    for name, bands in models.items():
        middles = [(band.first + band.last) / 2 for band in bands]
        scores = [band.bleu for band in bands]
        axes.plot(middles, scores, "o-", label=name, color=(colors or {}).get(name))
        for band in bands:
            counts.setdefault((band.first, band.last), set()).add(band.count)
    axes.set_xticks(
        [sum(band) / 2 for band in counts],
        [
            f"{first}-{last}\n({' or '.join(map(str, sorted(found)))})"
            for (first, last), found in counts.items()
        ],
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("words of the source (and how many sources)")
    axes.set_ylabel("BLEU")
