"""What the service takes on: one TOML file and environment variables."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What the service takes on.

    `Limits.load` reads the file that ZOO_CONFIG names, and for each limit a variable, such as
    ZOO_MAX_ROWS, that has the last word.

    Args:
        max_rows: texts, and beams of texts, that one model writes at the same time.
        max_queue: texts that wait; what comes then is refused.
        max_texts: texts of one request.
        max_beams: beams of one text.
        max_prompt_tokens: tokens of one prompt, or of one source.
        max_tokens: tokens of one text that is written.
        max_stops: strings that end one text.
        max_details: numbers that one answer tells besides its tokens, for texts as long as they
            may be: tokens in the place of others, where it is no stream, and what each token looked
            at, in one head.
        max_body_bytes: bytes of one request.
        prefill_tokens: tokens of prompts that are read between two tokens of the running texts.
        request_seconds: a request that takes longer has failed.
        drain_seconds: how long, after SIGTERM, what runs may go on.

    Raises:
        ValueError: a limit is not a number above 0, or contradicts another.
    """

    max_rows: int = 32
    max_queue: int = 256
    max_texts: int = 64
    max_beams: int = 16
    max_prompt_tokens: int = 2048
    max_tokens: int = 4096
    max_stops: int = 32
    max_details: int = 200_000
    max_body_bytes: int = 1 << 20
    prefill_tokens: int = 256
    request_seconds: float = 60.0
    drain_seconds: float = 20.0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) not in {int, field.type} or not 0 < value < float("inf"):
                raise ValueError(f"{field.name} must be a number above 0, not {value!r}")
        for less, more in (("max_beams", "max_rows"), ("max_texts", "max_queue")):
            if getattr(self, less) > getattr(self, more):
                raise ValueError(f"{less} must be at most {more}, which is {getattr(self, more)}")

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """The limits of the file and the variables.

        Raises:
            ValueError: the file, or a limit, is not as it should be; the message says which.
        """
        given = _file(environment.get("ZOO_CONFIG"))
        types = {field.name: field.type for field in fields(cls)}
        if unknown := set(given) - set(types):
            raise ValueError(f"no limits: {sorted(unknown)}; there are {', '.join(types)}")
        for name, number in types.items():
            variable = f"ZOO_{name.upper()}"
            if text := environment.get(variable):
                try:
                    given[name] = number(text)  # type: ignore[operator]
                except ValueError:
                    raise ValueError(f"{variable} must be a number, not {text!r}") from None
        return cls(**given)


def _file(path):
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"ZOO_CONFIG: {path}: {error}") from None
