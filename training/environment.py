"""What must be settled before Keras is imported, and right after: backend, threads, devices."""

import contextlib
import ctypes
import importlib.util
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

from training.data.download import DataError
from training.recipe import UserError
from zoo.decoding import InvalidOption
from zoo.presets import PresetError
from zoo.quiet import quiet_imports

BACKENDS = ("jax", "torch", "tensorflow")

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
_ONE_THREAD_XLA = "--xla_cpu_multi_thread_eigen=false --xla_gpu_deterministic_ops=true"


def prepare(deterministic: bool = False) -> None:
    """Chooses the backend and what its libraries read as they are loaded; Keras comes after this.

    Raises:
        UserError: `KERAS_BACKEND` names no backend, or one that is not installed.
    """
    installed = [name for name in BACKENDS if importlib.util.find_spec(name)]
    name = os.environ.setdefault("KERAS_BACKEND", next(iter(installed), BACKENDS[0]))
    if name not in BACKENDS:
        raise UserError(f"KERAS_BACKEND={name} is none of {', '.join(BACKENDS)}")
    if name not in installed:
        raise UserError(f"{name} is not installed; run: pip install -e '.[{name}]'")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    keep_memory()
    if deterministic:
        os.environ.update(_ONE_THREAD)
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD_XLA}"


def keep_memory() -> None:
    """Has glibc keep what freed arrays leave, for the next step to use.

    As it comes, it hands large arrays back to the kernel and gets them again page by page, which
    costs a training step on a CPU a fifth of its time. Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        for parameter, value in _MALLOC.items():
            ctypes.CDLL(None).mallopt(parameter, value)


_MALLOC = {
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: never give back the top of the heap
    -4: 0,  # M_MMAP_MAX: no array outside the heap
    -8: 1,  # M_ARENA_MAX: one heap, since those of further threads are bounded
}
"""From glibc's malloc.h; mallopt(3)."""


def configure(seed: int = 0, dtype: str = "float32", deterministic: bool = False) -> None:
    """Seeds, precision and determinism of Keras, once it may be imported."""
    with quiet_imports():
        import keras
        import keras_hub  # noqa: F401
        import tensorflow as tf

        if backend() != "tensorflow":  # it feeds the data then, and needs no GPU for that
            tf.config.set_visible_devices([], "GPU")

    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(dtype)
    if not deterministic:
        return
    if backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    if backend() == "torch":
        import torch

        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)


def backend() -> str:
    """The name of Keras's backend, which need not be loaded for it."""
    return os.environ["KERAS_BACKEND"]


def jit_compile() -> bool | str:
    """What `compile` is told. Keras leaves XLA out on TensorFlow where there is only a CPU, and
    recurrent models train at half the speed then."""
    if backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    # What XLA has compiled reaches the variables of one device only.
    return tf.distribute.get_strategy().num_replicas_in_sync == 1


def versions() -> dict[str, str]:
    """Of Python and of the libraries that have a say in a result."""
    found = {"python": platform.python_version(), "backend": backend()}
    for name in ("keras", "keras-hub", "tokenizers", "numpy", *BACKENDS):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def hardware() -> str:
    """What the backend computes on, in a few words."""
    if backend() == "torch":
        import torch

        devices = ["gpu"] * torch.cuda.device_count()
    else:
        import keras

        devices = [name.split(":")[0] for name in keras.distribution.list_devices()]
    accelerators = [name for name in devices if name != "cpu"]
    bound = hasattr(os, "sched_getaffinity")  # where a process can be kept to some cores
    number = len(os.sched_getaffinity(0)) if bound else os.cpu_count()
    cores = f"{number} cores {platform.machine()}"
    return f"{cores}, {len(accelerators)} {accelerators[0]}" if accelerators else cores


def command() -> str:
    """The command line, as one would type it."""
    return f"KERAS_BACKEND={backend()} python {shlex.join(sys.argv)}"


@contextlib.contextmanager
def one_line_errors(interrupted: str = "stopped"):
    """What a program runs in: a mistake of the user's ends it with one line and status 1."""
    try:
        yield
    except (UserError, DataError, PresetError, InvalidOption) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        sys.exit(130)
