"""What a run reads: texts, tokenizers, and for each part of the data the batches of any step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.corpora import Corpus, load_corpus, load_files
from training.data.download import DataError
from training.data.pipelines import (
    Ids,
    Pairs,
    Planner,
    Sequences,
    Streams,
    Strided,
    Windows,
    token_stream,
    tokenize,
)
from training.recipe import Data, Texts, UserError
from zoo import tokenizers
from zoo.tokenizers import EOS_ID, Tokenizer


@dataclass(frozen=True)
class Inputs:
    """A corpus and its tokenizers.

    Attributes:
        corpus: the texts.
        tokenizer: of the texts, or of a translation's target.
        source_tokenizer: of a translation's source, which may be `tokenizer`; otherwise None.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    source_tokenizer: Tokenizer | None = None

    def training(self, options: Data, seed: int, carried: bool) -> Sequences | Streams | Windows:
        """The batches to train on, shuffled.

        Args:
            options: sizes, and what is left out.
            seed: of the order.
            carried: for one long text, that each row goes on where it was in the last batch.

        Raises:
            DataError: the part has no text, or none that is short enough.
        """
        rows = self._rows("train")
        if self.corpus.kind == "stream":
            if carried:
                return Streams(rows[0], options.batch_size, options.window)
            return Windows(
                rows[0],
                options.batch_size,
                options.window,
                order="random" if options.crops == "random" else "shuffled",
                seed=seed,
            )
        return self._planner(
            *rows,
            batch_size=None if options.batch_tokens else options.batch_size,
            batch_tokens=options.batch_tokens,
            buckets=options.buckets,
            max_length=options.max_length,
            seed=seed,
        )

    def held_out(
        self, part: str, carried: bool, batch_size: int, window: int, stride: int | None = None
    ) -> Planner:
        """The batches of a part in order, each token once.

        Args:
            part: `"valid"` or `"test"`.
            carried: as for training.
            batch_size: rows.
            window: for one long text, tokens a row.
            stride: for one long text without a carried state, the tokens that each window adds;
                by default all of it.

        Raises:
            DataError: the part has no text.
        """
        if not getattr(self.corpus, part):
            raise DataError(
                f"{self.corpus.name} ({self.corpus.split}) has no {part} part: choose another "
                f"--split or --fractions, or give --{part} beside --train"
            )
        rows = self._rows(part)
        if self.corpus.kind != "stream":
            return self._planner(*rows, batch_size=batch_size, shuffle=False)
        if carried:
            return Streams(rows[0], batch_size, window)
        return Strided(rows[0], batch_size, window, stride or window)

    @property
    def _planner(self) -> Callable[..., Sequences]:
        return Pairs if self.corpus.kind == "pairs" else Sequences

    def characters(self, part: str) -> int:
        """Characters of a part, line ends included: what bits per character are counted by.

        The `<eos>` after each of many short texts stands for a line end. Of a translation, the
        target counts.
        """
        texts = getattr(self.corpus, part)
        if self.corpus.kind == "stream":
            return sum(map(len, texts))
        return sum(len(text if isinstance(text, str) else text[1]) + 1 for text in texts)

    def sequences(self, part: str) -> list[Ids]:
        """The token ids of each text, an `<eos>` before and after it; a long text is one."""
        eos, rows = np.array([EOS_ID], "int32"), self._rows(part)[-1]
        if self.corpus.kind == "stream":
            return [np.concatenate([eos, rows])]
        return [np.concatenate([eos, row, eos]) for row in rows]

    def prompts(self, number: int, text: str = "") -> list[str]:
        """What samples begin with: a text, or, to be translated where none is given, valid ones."""
        sources = self.corpus.valid if self.corpus.kind == "pairs" and not text else []
        return [source for source, _ in sources[:number]] or [text] * number

    def _rows(self, part: str) -> list:
        """Token ids: `[stream]`, `[texts]` or `[sources, targets]`."""
        texts = getattr(self.corpus, part)
        if self.corpus.kind == "stream":
            return [token_stream(self.tokenizer, texts)]
        if self.corpus.kind == "lines":
            return [tokenize(self.tokenizer, texts)]
        assert self.source_tokenizer
        return [
            tokenize(self.source_tokenizer, [source for source, _ in texts]),
            tokenize(self.tokenizer, [target for _, target in texts]),
        ]


def load(options: Data) -> Inputs:
    """Reads the texts and makes tokenizers from the training part.

    Raises:
        DataError: the data is missing or damaged.
        UserError: an option does not fit it.
    """
    corpus = read(options)
    if not corpus.train:
        raise UserError(f"{corpus.name} leaves no text to train on")
    for kinds, names in _ONLY_FOR.items():
        given = [name for name in names if getattr(options, name)]
        if corpus.kind not in kinds and given:
            raise UserError(
                f"--{given[0].replace('_', '-')} is for {' or '.join(kinds)}, and {corpus.name} "
                f"is {corpus.kind}: leave it out"
            )
    mode, size = options.tokenizer, options.vocabulary_size
    try:
        if corpus.kind != "pairs":
            return Inputs(corpus, tokenizers.train(mode, corpus.train, size))
        sources, targets = ([pair[side] for pair in corpus.train] for side in (0, 1))
        if options.joint_vocabulary:
            if options.source_vocabulary_size:
                raise ValueError("--joint-vocabulary leaves nothing for --source-vocabulary-size")
            tokenizer = tokenizers.train(mode, [*sources, *targets], size)
            return Inputs(corpus, tokenizer, tokenizer)
        source_size = options.source_vocabulary_size or size
        source_tokenizer = tokenizers.train(mode, sources, source_size)
        return Inputs(corpus, tokenizers.train(mode, targets, size), source_tokenizer)
    except ValueError as error:
        raise UserError(str(error)) from None


_ONLY_FOR = {
    ("stream",): ("crops",),
    ("lines", "pairs"): ("batch_tokens", "max_length"),
    ("pairs",): ("source_vocabulary_size", "joint_vocabulary"),
}


def read(options: Texts) -> Corpus:
    """The texts that the options name."""
    if options.train:
        if options.split:
            raise UserError("--train and --split contradict each other: leave one out")
        if options.target or options.size:
            raise UserError(
                "--target and --size go with --data: name both files of pairs in --train"
            )
        return load_files(options.train, options.valid, options.test, options.kind or "stream")
    if options.valid or options.test:
        raise UserError("--valid and --test need --train beside them")
    names = ("target", "split", "kind", "size", "fractions")
    return load_corpus(options.data, **{name: getattr(options, name) for name in names})
