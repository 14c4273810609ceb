"""The demo: a real model, a real index and real notes.

    make demo                  index 2,246 notes and serve them on 127.0.0.1:8000
    make demo ARGS=--check     the same, then send three kinds of requests about unseen notes, check the answers and stop

All files are in `checkpoints/demo` and `data/`, and the next start uses them again.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx

from demo.check import check
from demo.checkpoint import ensure_checkpoint
from demo.vectors import index_sample
from notellm.checkpoint import Checkpoint
from notellm.client import NoteClient
from notellm.errors import NoteLLMError
from training.errors import TrainingError

START_SECONDS = 180

USE = """
Ready: open {url} in a browser to write notes, walk from neighbour to neighbour and look at the map of all of them.
The API is described at {url}/docs. Try it, in another terminal:

1. Embed a note and store it:
curl -s {url}/notes/embed -H 'Content-Type: application/json' -d '{{"vectors": false, "notes": [{{"id": "my-1", "title": \
"Espresso runs through in ten seconds, how do I slow it down?", "content": "Same beans and dose as before, but the shot gushes \
and tastes sour. Should I grind finer or tamp harder?"}}]}}'

2. Find its neighbours:
curl -s '{url}/notes/my-1/similar?limit=3'

3. Suggest hashtags and a category:
curl -s {url}/notes/hashtags -H 'Content-Type: application/json' -d '{{"count": 3, "notes": [{{"title": \
"Espresso runs through in ten seconds, how do I slow it down?", "content": "Same beans and dose as before, but the shot gushes \
and tastes sour. Should I grind finer or tamp harder?"}}]}}'

Ctrl-C stops it."""


def data_directory(checkpoint: Checkpoint) -> Path:
    """The directory of the index; each checkpoint has its own."""
    path = Path("data") / f"demo-{checkpoint.fingerprint}"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def serving(checkpoint: Checkpoint, port: int) -> Iterator[str]:
    """Runs `notellm-serve` and yields its address once it is ready."""
    data_dir = data_directory(checkpoint)
    log = data_dir / "service.log"
    url = f"http://127.0.0.1:{port}"
    # Settings in the shell are those of another service: the demo would ask an index that it has not filled.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_")} | {
        "NOTELLM_CHECKPOINT": str(checkpoint.path), "NOTELLM_DATA_DIR": str(data_dir), "NOTELLM_PORT": str(port), "NOTELLM_ENGINE": "local",
        "NOTELLM_PLAYGROUND": "true",
    }  # fmt: skip
    with log.open("ab") as output:
        command = Path(sys.executable).with_name("notellm-serve")
        process = subprocess.Popen([command], env=environment, stdout=output, stderr=output)
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"demo: the service did not start:\n{log.read_text()[-2000:]}")
        try:
            if httpx.get(f"{url}/health/ready", timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    sys.exit(f"demo: the service was not ready after {START_SECONDS} s: see its log, {log}")


def main() -> None:
    """Runs the demo."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="send three kinds of requests, check the answers and stop")
    parser.add_argument("--port", type=int, default=8000, help="port to serve on")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    _refuse_used_port(options.port)
    begin = time.monotonic()
    print("checkpoint: merging the adapter into SmolLM2-135M, unless checkpoints/demo already exists", flush=True)
    checkpoint = ensure_checkpoint(Path("checkpoints") / "demo")
    notes = asyncio.run(index_sample(checkpoint, data_directory(checkpoint) / "index"))
    print(f"serving {checkpoint.manifest.name} on 127.0.0.1:{options.port}", flush=True)
    with serving(checkpoint, options.port) as url, httpx.Client(trust_env=False) as http:
        print(f"{notes:,} notes indexed, ready {time.monotonic() - begin:.0f} s after the start", flush=True)
        if options.check:
            sys.exit(check(NoteClient(url, http=http, timeout=300)))
        print(USE.format(url=url), flush=True)
        signal.pause()


def _exit(number: int, frame: FrameType | None) -> None:
    """Exits through every `finally`, so that the service does not outlive the demo."""
    sys.exit(0)


def _refuse_used_port(port: int) -> None:
    try:
        httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=2, trust_env=False)
    except httpx.ConnectError:
        return
    except httpx.HTTPError:
        pass
    sys.exit(
        f"demo: port {port} is already in use: stop that program, or choose another port with make demo ARGS='--port 8001'"
    )


if __name__ == "__main__":
    try:
        main()
    except (NoteLLMError, TrainingError) as error:
        sys.exit(f"demo: {error}")
