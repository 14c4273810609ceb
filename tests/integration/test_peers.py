"""The engines that benchmarks compare with embed as the service does: the same checkpoint, the same notes, the same vectors."""

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import Peer, PeerFailed, PeerProcess, comparable, missing_peers, open_peers
from benchmarks.plain import without_token_vectors
from notellm import Checkpoint, Note, NoteEncoder
from tests.clock import until_now

pytestmark = [pytest.mark.integration, pytest.mark.slow("starts vLLM"), pytest.mark.needs("vllm")]
PARITY = 1e-4


@pytest.fixture(scope="module")
def plain(smollm2: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The checkpoint without token vectors, which peers cannot add."""
    return without_token_vectors(smollm2, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def peers(plain: Checkpoint) -> Iterator[Mapping[str, Peer]]:
    with open_peers(plain.path, threads=2) as peers:
        yield peers


@pytest.fixture(scope="module")
def prompts(smollm2: Checkpoint, fixed_sample: list[Note]) -> list[list[int]]:
    prompt = smollm2.prompt()
    return [prompt.embedding(note) for note in prompt.tokenize(fixed_sample[::10])]


def test_every_peer_gives_the_vectors_of_our_encoder(
    peers: Mapping[str, Peer], plain: Checkpoint, prompts: list[list[int]]
) -> None:
    texts = [str(plain.tokenizer.decode(ids)) for ids in prompts]
    ours = NoteEncoder(plain.load_model(), plain.prompt().embedding_prefix).encode(prompts)
    everything = list(range(len(prompts)))
    same = {"vllm": everything, "vllm-defaults": everything, "infinity": comparable(plain.tokenizer, prompts, texts)}
    for name, peer in peers.items():
        seconds, vectors = peer.embed(prompts, texts)
        assert seconds > 0
        assert vectors.shape == ours.shape
        assert same[name]
        assert np.abs(vectors - ours)[same[name]].max() <= PARITY, name
    shorter = peers["vllm"].embed([ids[:-1] for ids in prompts[:2]], texts[:2])[1]
    assert np.abs(shorter - ours[:2]).max(axis=1).min() > 100 * PARITY


def test_a_peer_that_waits_leaves_the_processor_to_others(peers: Mapping[str, Peer], prompts: list[list[int]]) -> None:
    for peer in peers.values():
        assert isinstance(peer, PeerProcess)
        peer.embed(prompts[:2], ["a", "b"])
        until_now(lambda process=peer.process.pid: is_idle(process))  # type: ignore[misc]


def is_idle(process: int) -> bool:
    """Whether it does not look for work most of the time; after some, OpenMP's threads do so for a moment."""
    looks = [running_threads(process) for _ in range(50)]
    return sum(map(bool, looks)) < len(looks) / 2


def running_threads(process: int) -> list[str]:
    """Those that have the processor or want it; looks anew after a pause."""
    time.sleep(0.01)
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{process}/task").glob("*/stat")]
    return [state for state in states if state == "R"]


def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+b") as log, pytest.raises(PeerFailed, match=r"nothing ended:[\s\S]*KeyError"):
        PeerProcess("nothing", Path(sys.executable), {"checkpoint": str(tmp_path), "threads": 1}, log)


def test_what_is_not_installed_is_told(peers: Mapping[str, Peer]) -> None:
    missing = missing_peers()
    assert len(peers) + len(missing) == 3
    assert all("not installed (make install-" in line for line in missing)
