"""Notebooks run beside the build and talk to it through files that are sockets, not over TCP, which others might read."""

import os
import tempfile
from pathlib import Path
from typing import Any

import jupyter_client
from sphinx.application import Sphinx


class LocalKernelManager(jupyter_client.AsyncKernelManager):  # type: ignore[misc]
    """One kernel; its sockets are files, whose paths are short: a system allows about a hundred letters."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.transport, self.ip = "ipc", str(Path(tempfile.mkdtemp(prefix="kernel-")) / "at")


def setup(app: Sphinx) -> dict[str, bool]:
    """Makes it the manager that notebooks are run with, where there are such sockets."""
    if os.name == "posix":
        jupyter_client.AsyncKernelManager = LocalKernelManager  # where nbclient, which has no setting for it here, looks
    return {"parallel_read_safe": True, "parallel_write_safe": True}
