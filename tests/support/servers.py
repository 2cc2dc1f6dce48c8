"""Loopback servers for DVC remotes, each running for the duration of a `with` block."""

import contextlib
import getpass
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
SSHD_FOLDER = Path("/run/sshd")  # sshd does not start as root without it, and a test should not create it
SFTP_PROGRAMS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")

# An SFTP server with asyncssh, for machines without OpenSSH's. Arguments: host key, authorized keys, port.
ASYNCSSH = """
import asyncio, asyncssh, sys
async def main():
    key, authorized, port = sys.argv[1:]
    await asyncssh.listen("127.0.0.1", int(port), server_host_keys=[key], authorized_client_keys=authorized,
                          sftp_factory=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.contextmanager
def sftp(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run an SFTP server with its files below `folder`; yield its port and the path of the user's private key."""
    import asyncssh

    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        key.write_public_key(folder / f"{name}.pub")
        (folder / name).chmod(0o600)
    port = free_port()
    command = [sys.executable, "-c", ASYNCSSH, str(folder / "host"), str(folder / "user.pub"), str(port)]
    program = next((path for path in SFTP_PROGRAMS if Path(path).exists()), None)
    if SSHD and program and (os.geteuid() != 0 or SSHD_FOLDER.is_dir()):
        command = [SSHD, "-D", "-e", "-f", str(sshd_config(folder, port, program))]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_for(port, process, folder / "log")
            yield port, folder / "user"
        finally:
            process.terminate()


def sshd_config(folder: Path, port: int, program: str) -> Path:
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'user.pub'}",
        f"PidFile {folder / 'pid'}",
        f"Subsystem sftp {program}",
        f"AllowUsers {getpass.getuser()}",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "StrictModes no",  # other users may be able to write to the temporary folder
        "UsePAM no",
    ]
    path = folder / "sshd_config"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def s3(bucket: str) -> Iterator[str]:
    """Run an S3-compatible server with an empty `bucket`; yield its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        reset = urllib.request.Request(f"{address}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()  # an earlier server of this process leaves its buckets behind
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket=bucket)
        yield address
    finally:
        server.stop()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder, read-only, without logging."""

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def http_files(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """Run a web server for the files of `folder`; yield its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"no server on port {port}: {log.read_text()}")
