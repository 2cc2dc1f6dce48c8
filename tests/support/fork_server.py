"""Start Python programs by forking a process that has already imported torch and DVC.

A small pipeline spends most of its time starting Python and importing. `ForkServer` provides a `python`
and a `dvc` that start in milliseconds: each passes its arguments, folder, environment and open files to
the server, which forks. The child imports this project's code from the folder it is started in.

The child is not a descendant of the command that requested it. A signal to the command is forwarded to the
child and to the processes that the child has started; if the command is killed, they get SIGTERM. Tests of
killed parents and process groups use real processes instead.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

FORWARDED = (signal.SIGINT, signal.SIGTERM)
LONGEST_REQUEST = 1 << 20  # bytes

# Third-party imports of the stages and DVC; nothing of this project, and nothing that reads a clone's environment.
PRELOADED = """
PIL.PngImagePlugin matplotlib.pyplot matplotlib.backends.backend_agg numpy.ctypeslib pyarrow.parquet pydantic.main
pydantic.functional_validators ruamel.yaml safetensors.torch tokenizers tqdm
torch torch._dynamo torch.distributed torch.nn.parallel
dvc.cachemgr dvc.cli.parser dvc.daemon dvc.data_cloud dvc.dependency dvc.output dvc.render dvc.repo.artifacts
dvc.repo.datasets dvc.repo.experiments.executor.local dvc.repo.experiments.queue.celery
dvc.repo.experiments.queue.tempdir dvc.repo.experiments.run dvc.repo.graph dvc.repo.index dvc.repo.metrics.diff
dvc.repo.open_repo dvc.repo.params.diff dvc.repo.plots dvc.repo.reproduce dvc.repo.stage dvc.stage.cache dvc.stage.run
dvc.utils.hydra dvc.utils.strictyaml dvc_data.fs dvc_data.hashfile.db.local dvc_data.index.checkout dvc_http
dvc_studio_client.model_registry dvc_task.proc.manager dulwich.porcelain fsspec.implementations.local gto.tag hydra
networkx omegaconf pygit2 scmrepo.git.backend.pygit2.filter
""".split()

COMMAND = """#!{python} -IS
import json, os, signal, socket, sys
words = {words} + sys.argv[1:]
if words[:1] not in (["-m"], ["-c"]):
    os.execv("{python}", ["{python}", *words])
server = socket.socket(socket.AF_UNIX)
server.connect("{address}")
request = json.dumps([words, os.getcwd(), dict(os.environ), sorted(os.sched_getaffinity(0))]).encode()
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
server.sendall(request)
for number in {forwarded}:
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
status = int.from_bytes(server.recv(4), "big", signed=True)
if status < 0:
    if -status in {forwarded}:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class ForkServer:
    """The server process, and the folder with the commands that use it: `python` and `dvc`."""

    def __init__(self, folder: Path):
        self.folder, address = folder, str(folder / "socket")
        for name, words in (("python", []), ("dvc", ["-m", "dvc"])):
            command = COMMAND.format(
                python=sys.executable, words=words, address=address, forwarded=tuple(map(int, FORWARDED))
            )
            (folder / name).write_text(command, encoding="utf-8")
            (folder / name).chmod(0o755)
        # It ends when this process ends, which closes its standard input.
        start = [sys.executable, __file__, address]
        self.process = subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        assert self.process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@functools.cache
def commands() -> Path:
    """Return the folder with the commands of a server that this process starts once and that ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="fork-")
    server = ForkServer(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(server.close)
    return server.folder


def python() -> str:
    """Return the path to use instead of `sys.executable`, for `-m MODULE` and `-c CODE`."""
    return str(commands() / "python")


class _Forked(Exception):  # noqa: N818 - not an error: it takes a child out of the server's loop
    def __init__(self, words: list[str]):
        self.words = words


class _Child:
    """A forked process, and the command that waits for it."""

    def __init__(self, process: int, command: socket.socket, selector: selectors.BaseSelector):
        self.process, self.pidfd, self.command, self.selector = process, os.pidfd_open(process), command, selector
        self.watched: set[Any] = {self.pidfd, command}
        selector.register(self.pidfd, selectors.EVENT_READ, self.end)
        selector.register(command, selectors.EVENT_READ, self.forward)

    def _unwatch(self, file: Any) -> None:
        if file in self.watched:
            self.watched.remove(file)
            self.selector.unregister(file)

    def forward(self) -> None:
        """Forward the signals that the command received, or SIGTERM if the command is gone."""
        if self.command not in self.watched:  # the process ended in the same round
            return
        numbers = self.command.recv(16)
        for number in numbers or [signal.SIGTERM]:
            os.killpg(self.process, number)
        if not numbers:
            self._unwatch(self.command)

    def end(self) -> None:
        """Send the exit status of the process to the command."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self._unwatch(self.pidfd)
        self._unwatch(self.command)
        os.close(self.pidfd)
        with self.command, contextlib.suppress(OSError):  # the command may have been killed
            self.command.sendall(status.to_bytes(4, "big", signed=True))


def serve(address: str) -> None:
    """Fork for each connection until standard input is closed. Raises _Forked in each child."""
    selector, listener = selectors.DefaultSelector(), socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)

    def accept() -> None:
        command, _ = listener.accept()
        _Child(_fork(command), command, selector)

    selector.register(listener, selectors.EVENT_READ, accept)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                return
            key.data()


def _fork(connection: socket.socket) -> int:
    """Fork for a connection; return the child's process id. Raises _Forked in the child."""
    length, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        request += connection.recv(LONGEST_REQUEST)
    if process := os.fork():
        for file in files:
            os.close(file)
        return process
    words, folder, environ, cores = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, 1024)
    os.setsid()
    os.sched_setaffinity(0, cores)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.stdout.reconfigure(encoding=environ.get("PYTHONIOENCODING", "utf-8"), line_buffering=os.isatty(1))
    sys.path[:1] = [folder, *filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.executable = str(Path(sys.argv[1]).with_name("python"))  # for the programs that it starts
    if any(name.startswith("COVERAGE_PROCESS_") for name in environ):
        importlib.import_module("coverage").process_startup()
    raise _Forked(words)


def _run(words: list[str]) -> int:
    """Run `python -m MODULE ...` or `python -c CODE ...` as Python does; return the exit code, -N after signal N."""
    how, what = words[:2]
    sys.argv = [how, *words[2:]]
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        traceback.print_exc()
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _exit(code: int) -> NoReturn:
    """Exit as Python does, but without tearing down the modules, which takes a second with torch."""
    threading._shutdown()  # type: ignore[attr-defined] # wait for non-daemon threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # otherwise the garbage collector of every child would copy the memory it touches
    try:
        serve(sys.argv[1])
    except _Forked as forked:
        words = forked.words
        kept = forked  # its frames keep the server's sockets; freeing them would give warnings about closed files
    else:
        os._exit(0)
    _exit(_run(words))
