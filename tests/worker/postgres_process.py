"""A PostgreSQL of one's own, from the system's package, for the recipe that needs one."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from redis_process import free_port


def find_programs() -> Path:
    """Return the folder of the server's programs; without it, fail where it must be there and skip elsewhere."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("postgres")
    for folder in [*folders, *([Path(found).resolve().parent] if found else [])]:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    missing = "PostgreSQL is not installed (apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


class PostgresProcess:
    """One server on a port of its own, with its own folder, run by somebody who is not root."""

    def __init__(self) -> None:
        programs = find_programs()
        self.port = free_port()
        self.url = f"postgresql://tests@127.0.0.1:{self.port}/postgres"
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        identity: dict[str, Any] = {"cwd": self._folder, "stdout": subprocess.DEVNULL, "env": {"LC_ALL": "C"}}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")  # it came with the package; the server refuses to be run by root
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            identity |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        data = str(self._folder / "data")
        subprocess.run(
            [programs / "initdb", "--no-sync", "-E", "UTF8", "-A", "trust", "-U", "tests", "-D", data],
            check=True,
            **identity,
        )
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._folder), "-F"]
        self._process = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, **identity
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.025)
        self.stop()
        raise TimeoutError("postgres did not come up")

    def stop(self) -> None:
        """End it, and remove what it wrote."""
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)
