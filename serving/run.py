"""Serves the bundles of a directory: `bentoml serve` with what this service needs.

python serving/run.py --bundles bundles
"""

import argparse
import math
import os
import sys

from serving.limits import Limits


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the bundles of a directory over HTTP.")
    bundles = os.environ.get("ZOO_BUNDLES", "bundles")
    parser.add_argument("--bundles", default=bundles, help="directory of bundles (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    parser.add_argument("--port", type=int, default=3000, help="port to bind (%(default)s)")
    arguments = parser.parse_args()
    os.environ["ZOO_BUNDLES"] = os.path.abspath(arguments.bundles)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    service = ["serve", "serving.service:ZooService"]
    where = ["--host", arguments.host, "--port", str(arguments.port)]
    try:
        # The engine ends what runs; this is for connections that ask for nothing.
        grace = ["--timeout-graceful-shutdown", str(math.ceil(Limits.load().drain_seconds) + 1)]
    except ValueError as error:
        sys.exit(f"error: {error}")
    # In place of this process, so that signals reach the server.
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *service, *where, *grace])


if __name__ == "__main__":
    main()
