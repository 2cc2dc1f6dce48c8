"""Which machines count as lost, and what the launchers of several machines conclude."""

import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute import heartbeat
from tinylm.compute.heartbeat import LOST_AFTER, Heartbeat
from tinylm.compute.launching import hosts, torchrun_agent
from tinylm.compute.launching.hosts import launch_on_hosts
from tinylm.compute.launching.notes import FOLDER, Note, leave


class Store:
    """The numbers of a store, without a server."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, key: str, amount: int) -> int:
        self.numbers[key] = self.numbers.get(key, 0) + amount
        return self.numbers[key]

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [b"%d" % self.numbers[key] for key in keys]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    clock = [1000.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock[0])
    return clock


def test_a_machine_that_beats_no_more_is_lost(now: list[float]) -> None:
    store: Any = Store()
    first, second = (Heartbeat(store, ("a", "b", "c"), own) for own in (0, 1))
    for _ in range(3):
        now[0] += LOST_AFTER / 2
        first.beat()
        second.beat()
        first.beat()
    assert first.lost() == ["c"]
    assert second.lost() == ["c"]
    now[0] += LOST_AFTER + 1  # the store cannot be reached: nothing changes any more
    assert first.lost() == ["b", "c"]
    second.beat()
    first.beat()
    assert first.lost() == ["c"]


def test_a_machine_is_not_lost_before_its_time(now: list[float]) -> None:
    store: Any = Store()
    one = Heartbeat(store, ("a", "b"), 0)
    now[0] += LOST_AFTER
    one.beat()
    assert one.lost() == []
    now[0] += 0.1
    assert one.lost() == ["b"]


@pytest.mark.parametrize(
    ("codes", "expected", "said"),
    [
        ([75], 75, ""),
        ([75, -signal.SIGTERM], 75, ""),  # the agent ended the other one
        ([-signal.SIGTERM, 75], 75, ""),
        ([1, 75], 1, ""),
        ([75, 1], 1, ""),
        ([130, -signal.SIGTERM], 130, ""),
        ([75, -signal.SIGKILL], 1, "error: a process of this machine was killed by SIGKILL; the others were stopped\n"),
        ([-signal.SIGTERM], 75, ""),
    ],
)
def test_the_exit_code_of_an_attempt(
    codes: list[int], expected: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert torchrun_agent._report(codes) == expected
    assert capsys.readouterr().err == said


def test_a_note_is_new_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert [leave(Note.LOST), leave(Note.LOST), leave(Note.FINISHED, 0), leave(Note.FINISHED, 1)] == [
        *(True, False, True, True)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["finished0", "finished1", "lost"]


@pytest.mark.parametrize(("rank", "new"), [("0", True), ("1", False)])
def test_without_a_launcher_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, rank: str, new: bool) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert leave(Note.LOST) is new


def test_the_machine_that_has_the_address_leads() -> None:
    assert hosts._is_own("127.0.0.1")
    assert not hosts._is_own("192.0.2.1")  # of documentation, RFC 5737


def test_the_network_of_an_address_is_used_unless_the_user_chose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "mine")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    found = hosts._network("127.0.0.1")
    assert "127.0.0.1" in {a.address for a in hosts.psutil.net_if_addrs()[found["GLOO_SOCKET_IFNAME"]]}
    assert found["NCCL_SOCKET_IFNAME"] == "mine"
    assert hosts._network("192.0.2.1") == {"TORCH_CPP_LOG_LEVEL": "FATAL"}


def test_a_rendezvous_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(hosts.socket, "getaddrinfo", unknown)
    runtime = tiny.runtime_params(launcher="torchrun", hosts=2, rendezvous="nowhere:29400")
    with pytest.raises(UserError, match=r"runtime\.rendezvous: expected the name or address of a machine, got nowhere"):
        launch_on_hosts("stages.train", 1, runtime)


def test_machines_that_never_meet_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "PATIENCE", 3.0)
    port = hosts.socket.socket()
    port.bind(("127.0.0.1", 0))
    free = port.getsockname()[1]
    port.close()
    runtime = tiny.runtime_params(launcher="torchrun", hosts=2, rendezvous=f"127.0.0.1:{free}")
    with pytest.raises(UserError, match=rf"the 2 machines of the run did not meet at 127.0.0.1:{free} within 3 s"):
        launch_on_hosts("stages.train", 1, runtime)
