"""Imports without the notes that TensorFlow's C++ writes to the screen while it is loaded."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_imports():
    """Keeps standard error from the screen, what C++ writes included: for imports in a program."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
