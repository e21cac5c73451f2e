"""Fetches the files of a data set once, checks them, and says where they lie.

A file is looked for in the folder that the environment variable `ZOO_DATA` names (as
`<dataset>/<file>`, or `<file>.gz` for a file listed raw), then in the cache, and is downloaded
into the cache otherwise. Nothing stands under its final name there before its SHA-256 is right.
"""

import gzip
import hashlib
import io
import os
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError

import platformdirs
from filelock import FileLock
from tqdm import tqdm

from zoo.texts import DataError, read_file

TIMEOUT_SECONDS = 30
_BLOCK = 1 << 16


@dataclass(frozen=True)
class File:
    """One file of a data set, as `dataset.toml` lists it.

    Attributes:
        name: the file's name in the cache.
        url: where it is, pinned to a commit.
        bytes: its size.
        sha256: its checksum, in hexadecimal digits.
        encoding: of its text.
        member: the one file of a .zip that is wanted.
    """

    name: str
    url: str
    bytes: int
    sha256: str
    encoding: str = "utf-8"
    member: str = ""


def cache_directory() -> Path:
    """Where downloads are kept: the user's cache directory, as the operating system has it."""
    return platformdirs.user_cache_path("sequence-zoo") / "datasets"


def fetch(dataset: str, file: File) -> bytes:
    """The content of a file of a data set, checked, downloaded only where it is not yet here.

    Raises:
        DataError: it cannot be had, or is not the file that it should be.
    """
    if folder := os.environ.get("ZOO_DATA"):
        if not Path(folder).is_dir():
            raise DataError(f"ZOO_DATA={folder} is not a folder: correct it, or unset it")
        path = Path(folder) / dataset / file.name
        for candidate in (path, path.with_name(f"{path.name}.gz")):
            if candidate.exists():
                content = read_file(candidate, unpack=candidate != path)
                if hashlib.sha256(content).hexdigest() != file.sha256:
                    raise DataError(
                        f"{candidate} is not the file listed in datasets/{dataset}/dataset.toml "
                        "(its SHA-256 differs): replace it, or unset ZOO_DATA to download"
                    )
                return content
    path = cache_directory() / dataset / file.name
    if _is_right(path, file):  # before anything is written: a cache may be read-only
        return path.read_bytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # two runs that start together download once
            if not _is_right(path, file):
                _download(file, path)
            return path.read_bytes()
    except urllib.error.HTTPError as error:  # is an OSError, as are the two below
        raise DataError(
            f"{file.url} answered {error.code} {error.reason}: {_instead(path)}"
        ) from None
    except (urllib.error.URLError, TimeoutError, SSLError, ConnectionError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise DataError(f"no connection to {file.url} ({reason}): {_instead(path)}") from None
    except OSError as error:
        raise DataError(
            f"cannot write to the cache: {error}; free space or set XDG_CACHE_HOME"
        ) from None


def unpack(content: bytes, file: File) -> bytes:
    """What is in a .gz, or the wanted member of a .zip; the content itself of any other file."""
    if file.name.endswith(".gz"):
        return gzip.decompress(content)
    if file.name.endswith(".zip"):
        return zipfile.ZipFile(io.BytesIO(content)).read(file.member)
    return content


def _download(file: File, path: Path) -> None:
    """Downloads to `<path>.part`, from where an earlier attempt broke off, and renames that."""
    part = path.with_name(f"{path.name}.part")
    if part.exists() and part.stat().st_size >= file.bytes:
        part.unlink()  # not a beginning of the file, since a whole one would have been renamed
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != 206:  # the server sends the whole file all the same
            start = 0
        with (
            part.open("ab" if start else "wb") as output,
            tqdm(total=file.bytes, initial=start, desc=file.name, unit="B", unit_scale=True) as bar,
        ):
            while bar.n <= file.bytes and (block := response.read(_BLOCK)):
                output.write(block)
                bar.update(len(block))
    size = part.stat().st_size
    if size < file.bytes:
        raise ConnectionError(f"broken off at {size} of {file.bytes} bytes; run again to resume")
    if not _is_right(part, file):
        part.unlink()
        raise DataError(
            f"{file.url} is not the file that dataset.toml lists (its SHA-256 differs), "
            "so it was not kept: try again, or see whether something between changes downloads"
        )
    os.replace(part, path)


def _instead(path: Path) -> str:
    folder = f"{path.parent.name}/{path.name}"
    return f"try again, or put the file into a folder as {folder} and set ZOO_DATA to the folder"


def _is_right(path: Path, file: File) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
