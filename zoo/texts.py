"""Texts from files, or what is wrong with them in one line."""

import gzip
import os
import zlib
from pathlib import Path


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; one line, with what to do."""


def read_file(path: str | os.PathLike, unpack: bool | None = None) -> bytes:
    """The content of a user's file.

    Args:
        path: of the file.
        unpack: whether it is packed by gzip; by default where its name ends in `.gz`.

    Raises:
        DataError: there is no such file, or its archive is truncated or damaged.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if not (path.suffix == ".gz" if unpack is None else unpack):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(f"{path} is a truncated or damaged archive: copy it again") from None


def lines(text: str) -> list[str]:
    """The lines of a text, without their ends; a line end at its end begins no further line."""
    return text.removesuffix("\n").split("\n") if text else []


def decode_text(content: bytes, name: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file's content, without a byte-order mark and with `\\n` at its line ends.

    Raises:
        DataError: the content is not in that encoding, or is no text at all.
    """
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not {encoding.upper()}: byte 0x{content[error.start]:02x} at offset "
            f"{error.start}; convert it, as with `iconv -f <its encoding> -t UTF-8`"
        ) from None
    if "\0" in text:
        raise DataError(f"{name} is no text: it has NUL bytes, as UTF-16 and programs have")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")
