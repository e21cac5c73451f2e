"""What comes in and what goes out. An unknown field or a wrong type is an error."""

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from zoo.decoding import FinishReason, Options

MAX_TEXTS = 64
"""Texts of one request, which are written together."""
MAX_TOKENS = 4096
"""Tokens of one text."""
MAX_BEAMS = 16
"""Rows of one text."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(description="name of a bundle")


# The options of a request are those of the decoder, with their defaults.
_fields: dict[str, Any] = {
    field.name: (field.type, field.default) for field in dataclasses.fields(Options)
}
_WithOptions: Any = create_model("_WithOptions", __base__=_Request, **_fields)


class _TextRequest(_WithOptions):
    @field_validator("max_tokens", "beam_size")
    @classmethod
    def _limit(cls, value, info):
        most = {"max_tokens": MAX_TOKENS, "beam_size": MAX_BEAMS}[info.field_name]
        if value > most:
            raise ValueError(f"must be at most {most} here, not {value}")
        return value

    def options(self) -> Options:
        """The decoder's options.

        Raises:
            InvalidOption: one is not possible.
        """
        return Options(**{name: getattr(self, name) for name in _fields})


class NextTokenRequest(_Request):
    """Asks for the most probable next tokens."""

    text: str = Field("", description="what stands before")
    k: int = Field(10, ge=1, description="how many")


class GenerateRequest(_TextRequest):
    """Asks for texts."""

    prompt: str | list[str] = Field("", description="what each text begins with")


class TranslateRequest(_TextRequest):
    """Asks for translations."""

    text: str | list[str] = Field(description="each sentence")


class NextToken(BaseModel):
    """A token that may come next: its id, its name in the vocabulary, its probability."""

    token_id: int
    token: str
    probability: float


class NextTokenResponse(BaseModel):
    """The most probable first."""

    model: str
    tokens: list[NextToken]


class Usage(BaseModel):
    """Tokens read and written, `<eos>` not counted where it starts a text."""

    prompt_tokens: int
    completion_tokens: int


class TextResult(BaseModel):
    """A text that is written, as in `zoo.decoding.Result`."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    finish_reason: FinishReason | None
    score: float
    alternatives: tuple["TextResult", ...]


class TextResponse(BaseModel):
    """One result a text, in the order of the request."""

    model: str
    results: list[TextResult]
    usage: Usage
