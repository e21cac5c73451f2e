"""The whole of it on one machine, in minutes: `make demo`.

Trains a language model and a translator on texts that come with Python and with this package, loads
a pretrained model, prints what they write, exports all three, serves them and calls the service.
Every command is printed before it runs, and can be typed by hand.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

RUNS = Path("runs/demo")
BUNDLES = RUNS / "bundles"
PRETRAINED = "lstm_names"
PORT = 3030


def main() -> None:
    shutil.rmtree(RUNS, ignore_errors=True)
    train("lstm", "--recipe demo_lstm")
    train("translator", "--recipe demo_translation")
    say(f"The pretrained {PRETRAINED} writes names; the model just trained writes")
    for name in (PRETRAINED, RUNS / "lstm/preset"):
        run(f"training/generate.py --preset {name} --number 3 --seed 0")
    for name, preset in {
        "lstm": RUNS / "lstm/preset",
        "translator": RUNS / "translator/preset",
        PRETRAINED: PRETRAINED,
    }.items():
        run(f"export/run.py {preset} --to {BUNDLES / name}")
    serve_and_call()


def train(name: str, options: str) -> None:
    say(f"Train a model: {name}")
    run(f"training/run.py {options} --name {name} --runs {RUNS}")


def run(command: str) -> None:
    """Runs one of the programs, as a user would."""
    print(f"\n$ python {command}", flush=True)
    subprocess.run([sys.executable, *shlex.split(command)], check=True)


def serve_and_call() -> None:
    say("Serve the three without any framework, and call them")
    bentoml = Path(sys.executable).with_name("bentoml")
    command = f"serve serving.service:ZooService --port {PORT}"
    print(f"\n$ ZOO_BUNDLES={BUNDLES} bentoml {command}", flush=True)
    environment = {**os.environ, "ZOO_BUNDLES": str(BUNDLES), "BENTOML_DO_NOT_TRACK": "true"}
    log = (RUNS / "service.log").open("w")
    service = subprocess.Popen([bentoml, *command.split()], env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(service)
        call("next_token", model=PRETRAINED, text="mari", k=3)
        call("generate", model="lstm", prompt="The ", max_tokens=60, temperature=0.7, seed=0)
        call("translate", model="translator", text="I like an old star.")
    finally:
        service.terminate()
        service.wait()


def wait_until_ready(service: subprocess.Popen) -> None:
    for _ in range(240):
        if service.poll() is not None:
            sys.exit(f"error: the service ended; its log is {RUNS / 'service.log'}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=5)
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    sys.exit(f"error: the service is not ready after a minute; its log is {RUNS / 'service.log'}")


def call(endpoint: str, **body) -> None:
    url = f"http://127.0.0.1:{PORT}/{endpoint}"
    content = json.dumps(body)
    print(f"\n$ curl {url} --json '{content}'")
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, content.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        print(textwrap.shorten(response.read().decode(), 400))


def say(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
