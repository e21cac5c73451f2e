"""Opens an exported bundle and runs it: ONNX Runtime, NumPy and tokenizers, no framework.

A bundle is a directory, made by `export/run.py`:

| file                         | what                                                            |
|------------------------------|-----------------------------------------------------------------|
| `manifest.json`              | the format, the state's leaves, special ids, files and checksums |
| `decode.onnx`                | `token_ids` and the leaves -> `logits` and the leaves           |
| `encode.onnx`                | of a translation model: `source_ids` -> the leaves              |
| `advance.onnx`               | what `decode.onnx` takes -> the leaves, without the logits      |
| `candidates.onnx`            | `logits` of a token, `k` -> `ids`, `log_probs` of the k best    |
| `take.onnx`                  | `rows` and the carried leaves -> those rows of them             |
| `attention.onnx`             | what `decode.onnx` takes -> attention weights by name           |
| `classify.onnx`              | of a classifier, all there is: `token_ids` -> `logits` of labels |
| `weights.bin`                | the weights of these, each once                                 |
| `tokenizer.json`             | of the text                                                     |
| `source_tokenizer.json`      | of the source, where that is another one                        |
| `saved_model/`               | the same two, and the whole model, for TensorFlow               |

A leaf `x` goes in as `x` and comes out as `x_out`; those that `encode` sets for good only go in.
"""

import hashlib
import itertools
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime

from zoo.contract import Decodable, Leaf, State, StateSpec, log_softmax, take_constants
from zoo.tokenizers import Tokenizer

FORMAT_VERSION = 1
"""The newest format of a bundle that this module reads."""

Task = Literal["text-generation", "translation", "text-classification"]
"""What a model is for, as Hugging Face calls it."""

OUT = "_out"
"""What the name of a leaf that comes out of a graph has at its end."""


class BundleError(ValueError):
    """A directory that is not a bundle, or one that cannot be read; the message names it."""


def open_bundle(directory, threads: int = 1) -> "Bundle | Classifier":
    """A `Classifier` where the manifest has labels, else a `Bundle`; raises as they do."""
    has_labels = "labels" in _Directory(directory, threads).manifest
    return (Classifier if has_labels else Bundle)(directory, threads)


class _Directory:
    """The files of a bundle, each compared with the manifest before it is read."""

    def __init__(self, directory, threads: int):
        self.directory = Path(directory)
        self._threads = threads
        self._graphs: dict[str, _Graph] = {}
        path = self.directory / "manifest.json"
        try:
            self.manifest = json.loads(path.read_text(encoding="utf-8"))
            version = int(self.manifest["format_version"])
            if version <= FORMAT_VERSION:
                self._files: dict[str, str] = dict(self.manifest["files"])
                self._read_manifest()
                return
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(f"{self.directory} is no bundle: it has no manifest.json") from None
        except BundleError:
            raise
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BundleError(f"{path} is damaged: export the model again") from None
        raise BundleError(
            f"{self.directory} is of format {version} and this program reads formats up to "
            f"{FORMAT_VERSION}: update the program"
        )

    def _read_manifest(self):
        """Takes what the class needs from the manifest."""

    def _checked(self, name: str) -> Path:
        path = self.directory / name
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise BundleError(f"{path} is missing: export the model again") from None
        if digest != self._files.get(name):
            raise BundleError(f"{path} is not as it was exported: export the model again")
        return path

    def _has(self, name):
        return f"{name}.onnx" in self._files

    def _graph(self, name):
        if name not in self._graphs:
            if "weights.bin" in self._files and not self._graphs:
                self._checked("weights.bin")
            self._graphs[name] = _Graph(self._checked(f"{name}.onnx"), self._threads)
        return self._graphs[name]


class Bundle(_Directory, Decodable):
    """A model that decoders can run; see `zoo.contract.Decodable`.

    Args:
        directory: of the bundle.
        threads: of ONNX Runtime, within one call. Models of this size gain more from a second
            process than from a second thread.

    Attributes:
        directory, manifest: where it is, and the content of `manifest.json`.
        state_spec: the leaves of the state.
        max_length: most tokens of a sequence, `None` where there is no bound.
        tokenizer: of the text; `None` for a model from elsewhere.
        source_tokenizer: of the source; `None` for a language model, which has no source.

    Raises:
        BundleError: the directory is no bundle, is of a newer format, or a file of it is not as it
            was written.
    """

    def __init__(self, directory, threads: int = 1):
        super().__init__(directory, threads)
        self._decode = self._graph("decode")
        self._encode = self._graph("encode") if self._has("encode") else None
        self.tokenizer = None
        if "tokenizer.json" in self._files:
            self.tokenizer = Tokenizer.load(self._checked("tokenizer.json"))
        self.source_tokenizer = self.tokenizer if self._encode else None
        if "source_tokenizer.json" in self._files:
            self.source_tokenizer = Tokenizer.load(self._checked("source_tokenizer.json"))

    def _read_manifest(self):
        if "state" not in self.manifest:
            raise BundleError(f"{self.directory} has no state: it is no model that writes texts")
        self.state_spec = StateSpec(tuple(map(_leaf, self.manifest["state"])))
        self.max_length = self.manifest.get("max_length")
        self.ragged = self.manifest.get("ragged", True)

    @property
    def task(self) -> Task:
        """What the model is for."""
        return "translation" if self.source_tokenizer else "text-generation"

    def start(self, source_ids_or_batch) -> State:
        """The state before the first token.

        Args:
            source_ids_or_batch: the number of rows; of a translation model the sources,
                `(batch, time)` int32, each ending in `<eos>`, padded with 0 at the right.

        Raises:
            ValueError: sources for a language model, or none for a translation model.
        """
        counts = np.ndim(source_ids_or_batch) == 0
        if self._encode is None:
            if not counts:
                raise ValueError("a language model starts without a source sentence")
            return self.state_spec.initial(source_ids_or_batch)
        if counts:
            raise ValueError("a translation starts from source sentences")
        return self._encode({"source_ids": np.asarray(source_ids_or_batch, "int32")})

    def read(self, token_ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        outputs = self._decode({"token_ids": token_ids, **state})
        return outputs.pop("logits"), outputs

    def advance(self, token_ids, state):
        if not self._has("advance"):
            return super().advance(token_ids, state)
        return self._graph("advance")({"token_ids": token_ids, **state})

    def best(self, logits, k):
        if not self._has("candidates"):
            return super().best(logits, k)
        return tuple(self._graph("candidates")({"logits": logits, "k": np.array([k])}).values())

    def take(self, state, rows):
        if not self._has("take"):
            return super().take(state, rows)
        rows = np.asarray(rows, "int64")
        carried = self._graph("take")({"rows": rows, **state})
        return {**carried, **take_constants(self.state_spec, state, rows)}

    def attention(self, token_ids, state):
        if not self._has("attention"):
            return {}
        return self._graph("attention")({"token_ids": np.asarray(token_ids, "int32"), **state})


class Classifier(_Directory):
    """A text classifier.

    Args:
        directory, threads: as for a `Bundle`.

    Attributes:
        directory, manifest: where it is, and the content of `manifest.json`.
        labels: of the classes, in order.
        max_length: most tokens of a text, `None` where there is no bound.
        tokenizer: of the texts.

    Raises:
        BundleError: as a `Bundle`.
    """

    task: Task = "text-classification"
    source_tokenizer = None

    def __init__(self, directory, threads: int = 1):
        super().__init__(directory, threads)
        self._classify = self._graph("classify")
        self.tokenizer = Tokenizer.load(self._checked("tokenizer.json"))

    def _read_manifest(self):
        self.labels = tuple(self.manifest["labels"])
        self.max_length = self.manifest["max_length"]
        (token_ids,) = self.manifest["graphs"]["classify.onnx"]["inputs"]
        self._time = token_ids["shape"][1]  # None: any

    def classify(self, token_ids) -> np.ndarray:
        """The probability of each label.

        Args:
            token_ids: `(batch, time)` int, of texts of one length. Where a model takes one length
                alone, they are padded to that with 0 at the right; no other sees any padding.

        Returns:
            `(batch, labels)` float32.
        """
        token_ids = np.asarray(token_ids, "int32")
        if self._time:
            token_ids = np.pad(token_ids, [(0, 0), (0, self._time - token_ids.shape[1])])
        return np.exp(log_softmax(self._classify({"token_ids": token_ids})["logits"]))

    def classify_in_parts(
        self, texts: Sequence[Sequence[int]], size: int
    ) -> Generator[int, None, np.ndarray]:
        """`classify` of texts of any lengths, in parts (`zoo.decoding.Parts`).

        Those of one length are read together, so that each gets what it gets alone.

        Args:
            texts: token ids of each, one at least and at most `max_length`.
            size: of the parts, in tokens.
        """
        probabilities = np.empty((len(texts), len(self.labels)), "float32")
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for length, group in itertools.groupby(by_length, key=lambda i: len(texts[i])):
            while rows := list(itertools.islice(group, max(1, size // length))):
                probabilities[rows] = self.classify([texts[i] for i in rows])
                yield len(rows) * length
        return probabilities


class _Graph:
    """A graph as a function of arrays by name; what comes out has no `_out` at its end.

    ONNX Runtime reads the arrays where they are, and what it gives is in its own memory, which it
    has back with the last view of it: nothing is copied from step to step.
    """

    def __init__(self, path, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors: its warnings are about the graph, not the run
        options.enable_mem_pattern = False  # plans memory for one shape, and caches grow
        self._session = onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            # With a factor in it, a product of one row is not done by the kernel for one row.
            disabled_optimizers=["MatMulScaleFusion"],
        )
        # A leaf that a model has no use for is no input of its graph.
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._outputs = [given.name.removesuffix(OUT) for given in self._session.get_outputs()]

    def __call__(self, arrays):
        results = self._session.run(None, {name: arrays[name] for name in self._inputs})
        return dict(zip(self._outputs, results))


def _leaf(fields):
    return Leaf(**{**fields, "shape": tuple(fields["shape"])})
