"""Keeps BentoML, which makes its home when it is imported, out of the user's."""

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="bentoml-")  # removed as the process ends
os.environ["BENTOML_HOME"] = _home.name
