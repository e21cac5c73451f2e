"""What comes in and what goes out. An unknown field or a wrong type is an error."""

import dataclasses
import inspect
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, create_model

from zoo.bundle import Task
from zoo.decoding import FinishReason, InvalidOption, Options, Result

Ids = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Request(_Strict):
    model: str = Field(description="name of a bundle")
    timeout: float | None = Field(
        None, gt=0, description="seconds after which the request has failed; the server has a limit"
    )


# The options of a request are those of the decoder, with their defaults and descriptions.
_documented = inspect.getdoc(Options) or ""
_said = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", _documented, re.MULTILINE))
_fields: dict[str, Any] = {
    field.name: (
        field.type,
        Field(field.default, description=re.sub(r"\s+", " ", _said[field.name])),
    )
    for field in dataclasses.fields(Options)
}
_WithOptions: Any = create_model("_WithOptions", __base__=_Request, **_fields)


class _TextRequest(_WithOptions):
    n: int = Field(1, ge=1, description="texts of each prompt, with the seeds from `seed` on")
    stream: bool = Field(False, description="each token as it comes, as server-sent events")
    logprobs: int = Field(0, ge=0, description="tokens to be told in the place of each")
    attention: bool = Field(False, description="what each token looked at, where the model tells")

    def options(self, room: int | None) -> list[Options]:
        """The decoder's options of each of the n texts.

        Args:
            room: tokens for which there is room, where there is a bound; the default of
                `max_tokens` keeps to it.

        Raises:
            InvalidOption: one is not possible.
        """
        given = {name: getattr(self, name) for name in _fields}
        if room is not None and "max_tokens" not in self.model_fields_set:
            given["max_tokens"] = max(1, min(given["max_tokens"], room))
        options = Options(**given)
        if self.n == 1:
            return [options]
        if not options.temperature:
            raise InvalidOption("n", self.n, "1 where temperature is 0, which draws nothing")
        return several(options, self.n)


def several(options: Options, n: int) -> list[Options]:
    """The same n times, with other seeds."""
    if options.seed is None:
        return [options] * n
    return [dataclasses.replace(options, seed=options.seed + i) for i in range(n)]


class NextTokenRequest(_Request):
    """Asks for the most probable next tokens."""

    example: ClassVar = {"text": "mar", "k": 5}

    text: str = Field("", description="what stands before")
    token_ids: Ids | None = Field(None, description="the same in tokens, in place of the text")
    k: int = Field(10, ge=1, description="how many")
    positions: bool = Field(False, description="those after each token, too")


class GenerateRequest(_TextRequest):
    """Asks for texts."""

    example: ClassVar = {"prompt": "ma", "temperature": 0.8, "seed": 1, "max_tokens": 20}

    prompt: str | list[str] = Field("", description="what each text begins with")
    token_ids: Ids | None = Field(None, description="one prompt in tokens, in place of the text")


class TranslateRequest(_TextRequest):
    """Asks for translations."""

    example: ClassVar = {"text": "the cat sees a dog", "beam_size": 4}

    model: str = Field("vaswani_fra_eng", description="name of a bundle; English to French if none")
    text: str | list[str] = Field(description="each sentence")


class ScoreRequest(_Request):
    """Asks how probable texts are, each with the end token."""

    example: ClassVar = {"text": ["maria", "xqz"]}

    text: str | list[str] = Field(description="each text")
    prompt: str = Field("", description="what stands before each")
    source: str | None = Field(None, description="the sentence that each translates")


class EmbedRequest(_Request):
    """Asks for what the model holds of texts."""

    example: ClassVar = {"text": ["maria", "marie"]}

    text: str | list[str] = Field(description="each text, or source of a translation model")


class ClassifyRequest(_Request):
    """Asks for the labels of texts."""

    example: ClassVar = {"text": ["a good film", "a bad one"], "k": 1}

    text: str | list[str] = Field(description="each text, of one token at least")
    k: int | None = Field(None, ge=1, description="how many labels of each; all of them")


class TokenizeRequest(_Request):
    """Asks for the tokens of a text."""

    example: ClassVar = {"text": "maria"}

    text: str = Field(description="the text")
    side: Literal["text", "source"] = Field("text", description="which tokenizer")


class StreamOptions(_Strict):
    """As OpenAI's clients know them."""

    include_usage: bool = False


class CompletionRequest(_Strict):
    """As OpenAI's clients ask for completions."""

    example: ClassVar = {"prompt": "ma", "max_tokens": 16}

    model: str
    prompt: str | list[str] | Ids | list[Ids] = ""
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = Field(None, ge=1)
    best_of: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, ge=0)
    echo: Literal[False] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    suffix: None = None
    user: str | None = None

    def prompts(self) -> list:
        """Each prompt, a text or token ids."""
        prompt: Any = self.prompt
        is_one = isinstance(prompt, str) or (prompt and isinstance(prompt[0], int))
        return [prompt] if is_one else prompt

    def options(self) -> list[Options]:
        """The decoder's options of each of the n texts; raises `InvalidOption`."""
        if self.best_of not in (None, self.n or 1):
            raise InvalidOption("best_of", self.best_of, "the same as n")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        bias = (self.logit_bias or {}).items()
        if wrong := [key for key, _ in bias if not re.fullmatch(r"\d{1,9}", key, re.ASCII)]:
            raise InvalidOption("logit_bias", wrong[0], "of token ids")
        temperature = 1.0 if self.temperature is None else self.temperature
        options = Options(
            max_tokens=16 if self.max_tokens is None else self.max_tokens,
            temperature=temperature,
            top_p=self.top_p if temperature and self.top_p != 1 else None,
            seed=self.seed,
            stop=tuple(stop),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=tuple((int(key), value) for key, value in bias),
        )
        return several(options, self.n or 1)


class Token(BaseModel):
    """A token that may stand in a place: its id, its name in the vocabulary, its probability."""

    token_id: int
    token: str
    probability: float


class NextTokenResponse(BaseModel):
    """The most probable first; of each position, the first one before all tokens of the text."""

    model: str
    tokens: list[Token]
    positions: list[list[Token]] | None = None


class Usage(BaseModel):
    """Tokens read and written, `<eos>` not counted where it starts a text."""

    prompt_tokens: int
    completion_tokens: int


class Text(BaseModel):
    """A text that is written, or scored, as in `zoo.decoding.Result`."""

    text: str
    token_ids: list[int]
    tokens: list[str]
    log_probs: list[float]
    finish_reason: FinishReason | None
    score: float
    top: list[list[Token]] | None = None
    attention: dict[str, list[list[list[float]]]] | None = Field(
        None, description="by name: heads, tokens, and what of source or text each looks at"
    )

    @classmethod
    def of(cls, result: Result, tokens, **fields) -> Self:
        """Of a decoder's result; `tokens` gives names and alternatives (`Naming`)."""
        weights = result.attention or {}
        return cls(
            text=result.text,
            token_ids=list(result.token_ids),
            tokens=[tokens.name(token_id) for token_id in result.token_ids],
            log_probs=list(result.log_probs),
            finish_reason=result.finish_reason,
            score=result.score,
            top=[tokens.top(top) for top in result.top] or None,
            attention={name: array.tolist() for name, array in weights.items()} or None,
            **fields,
        )


class TextResult(Text):
    """And the next best ones of a search; not of its own kind, which BentoML cannot describe."""

    alternatives: list[Text]

    @classmethod
    def of(cls, result: Result, tokens, **fields) -> Self:
        """Of a decoder's result, as above."""
        others = [Text.of(other, tokens) for other in result.alternatives]
        return super().of(result, tokens, alternatives=others, **fields)


class TextResponse(BaseModel):
    """One result a text, in the order of the request, those of one prompt together."""

    model: str
    results: list[TextResult]
    usage: Usage


class TranslateResponse(TextResponse):
    """And the tokens of each source, which attention names end in `cross` look at."""

    source_tokens: list[list[str]]


class ScoreResponse(BaseModel):
    """One result a text."""

    model: str
    results: list[TextResult]


class EmbedResponse(BaseModel):
    """One vector a text."""

    model: str
    embeddings: list[list[float]]


class Label(BaseModel):
    """A label and its probability."""

    label: str
    probability: float


class ClassifyResponse(BaseModel):
    """The labels of each text, the most probable first."""

    model: str
    results: list[list[Label]]


class TokenizeResponse(BaseModel):
    """The tokens, and what they spell together."""

    model: str
    token_ids: list[int]
    tokens: list[str]
    text: str


class ModelCard(BaseModel):
    """What the manifest says of a model."""

    name: str
    architecture: str | None
    task: Task
    vocabulary_size: int
    max_length: int | None
    license: str | None = None
    scores: Any = None
    manifest: dict[str, Any]
