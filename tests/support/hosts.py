"""Several hosts on this machine: network namespaces with addresses of their own, joined by a bridge."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

PREFIX = "tinylm"


class Host:
    """A network namespace with an address, a loopback interface and a cable, which can be pulled."""

    def __init__(self, number: int):
        self.number, self.name = number, f"{PREFIX}-{os.getpid()}-{number}"
        self.address = f"10.77.{os.getpid() % 250}.{number}"
        self.cable = f"tl{os.getpid() % 100_000}-{number}"  # at most 15 characters

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command on this host."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], text=True, **options)

    def pull_cable(self) -> None:
        """Cut the link: what is sent is lost without an error, as when a cable is pulled."""
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.cable, "up")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts on one network, which end with the block."""
    bridge = f"tlb{os.getpid()}"
    made = [Host(number + 1) for number in range(count)]
    _ip("link", "add", bridge, "type", "bridge")
    try:
        _ip("link", "set", bridge, "up")
        for host in made:
            _ip("netns", "add", host.name)
            _ip("link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.cable, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        yield made
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)
            subprocess.run(["ip", "link", "delete", host.cable], capture_output=True)
        subprocess.run(["ip", "link", "delete", bridge], capture_output=True)


@cache
def why_not() -> str:
    """Why this machine can have no such hosts; empty if it can."""
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    name = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return made.stderr.strip() and f"network namespaces are not allowed here: {made.stderr.strip()}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
