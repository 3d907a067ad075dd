"""Plain bisection with our client, on the server whose answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.search import plain
from benchmarks.search.plain import Probes
from benchmarks.search.queue_server import QueueServer
from benchmarks.search.searchers import WARM_UP, Answer, Plain


@pytest.mark.parametrize(("limit_ms", "keeps"), [(100.0, True), (0.01, False)])
def test_a_probe_is_a_run_of_our_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_ms: float, keeps: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plain, "PEERS_REQUESTS", 60)
    with QueueServer(1e-4, seed=1) as server:
        probes = Probes(server.url, limit_ms)
        assert probes.keeps(4.0) is keeps
    assert len(server.service_s) == 60 + WARM_UP
    assert list(probes.held) == [4]
    assert 0 < probes.held[4] <= 4.1


class Known(Probes):
    """A server that keeps the limit up to 40 in flight."""

    def keeps(self, load: float) -> bool:
        self.held[round(load)] = load - 0.5
        return load <= 40


def test_the_answer_is_written_for_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plain, "Probes", Known)
    monkeypatch.setattr("sys.argv", ["plain", "http://127.0.0.1:9", "120"])
    plain.main()
    assert Plain().read(tmp_path) == Answer(38, 38, 40, 6, 37.5, 38)
