"""Serves the bundles of a directory: `bentoml serve` with what this service needs.

python serving/run.py --bundles bundles
"""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the bundles of a directory over HTTP.")
    bundles = os.environ.get("ZOO_BUNDLES", "bundles")
    parser.add_argument("--bundles", default=bundles, help="directory of bundles (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    parser.add_argument("--port", type=int, default=3000, help="port to bind (%(default)s)")
    arguments = parser.parse_args()
    if not any(Path(arguments.bundles).glob("[!.]*/manifest.json")):
        sys.exit(f"error: no bundle in {arguments.bundles}; export one with export/run.py")
    os.environ["ZOO_BUNDLES"] = os.path.abspath(arguments.bundles)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    service = ["serve", "serving.service:ZooService"]
    where = ["--host", arguments.host, "--port", str(arguments.port)]
    # In place of this process, so that signals reach the server.
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *service, *where])


if __name__ == "__main__":
    main()
