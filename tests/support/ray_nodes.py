"""A Ray cluster of several nodes on this machine, for the duration of a `with` block."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.servers import free_port

PATIENCE = 120  # seconds
PROGRAM = Path(sys.executable).with_name("ray")
# for nodes and for programs that use them; a token of this machine's user would be asked for
ENVIRON = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_AUTH_MODE": "disabled"}
SMALL = ("--num-gpus=0", "--object-store-memory=80000000", "--block")


class RayNodes:
    """A head without CPUs of its own, so that jobs run on the other nodes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, dashboard = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._dashboard = dashboard

    def start(self) -> None:
        """Start the head and wait for it."""
        self._start("--head", f"--port={self.port}", f"--dashboard-port={self._dashboard}", "--num-cpus=0")
        self.wait()

    def add(self, cpus: int = 1) -> int:
        """Add a node and wait for it; return its number. Two that start at once would take the same socket's name."""
        self._start(f"--address=127.0.0.1:{self.port}", f"--num-cpus={cpus}")
        self.wait()
        return len(self.nodes) - 1

    def kill(self, number: int) -> None:
        """Kill a node with all that runs on it."""
        node = psutil.Process(self.nodes[number].pid)
        for process in [node, *node.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.nodes[number].wait()

    def stop(self) -> None:
        for number in range(len(self.nodes)):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.kill(number)

    def _start(self, *words: str) -> None:
        own = f"--dashboard-agent-listen-port={free_port()}"
        place = [f"--temp-dir={self.folder}"] if "--head" in words else []  # the other nodes ask the head for it
        command = [str(PROGRAM), "start", *words, own, *SMALL, *place]
        with open(self.folder / f"node{len(self.nodes)}.log", "ab") as log:
            self.nodes.append(subprocess.Popen(command, env=os.environ | ENVIRON, stdout=log, stderr=log))

    def wait(self) -> None:
        """Wait until all nodes have joined."""
        deadline = time.monotonic() + PATIENCE
        while self._alive() < len(self.nodes):
            logs = [file.read_text()[-2000:] for file in self.folder.glob("node*.log")]
            assert all(node.poll() is None for node in self.nodes), logs
            assert time.monotonic() < deadline, logs
            time.sleep(0.2)

    def _alive(self) -> int:
        """Return the number of nodes that the head counts as alive."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self.address}/nodes?view=summary", timeout=5) as answer,
        ):
            summary = json.load(answer)["data"]["summary"]
            return sum(node.get("raylet", {}).get("state") == "ALIVE" for node in summary)
        return 0


@contextlib.contextmanager
def ray_nodes(nodes: int = 2) -> Iterator[RayNodes]:
    """Run a Ray cluster with `nodes` nodes of one CPU beside its head."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short, because of the limit on the paths of sockets
    cluster = RayNodes(folder)
    try:
        cluster.start()
        for _ in range(nodes):
            cluster.add()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
