"""The cluster that the tests speak to: the one at ``POLYLITE_URL``, else one that is started for them."""

import atexit
import os
import shutil
import subprocess
import unittest

_url = os.environ.get("POLYLITE_URL")


def url() -> str:
    """The address of a coordinator."""
    global _url
    if _url is None:
        _url = _start()
    return _url


def _start() -> str:
    binary = os.environ.get("POLYLITE") or shutil.which("polylite")
    if binary is None:
        raise unittest.SkipTest("no server: set POLYLITE_URL, or put polylite on the PATH")
    command = [binary, "dev", "--ephemeral", "--port", "0", "--log-level", "error"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def stop() -> None:
        server.terminate()
        server.wait()
        server.stdout.close()

    atexit.register(stop)
    ready = server.stdout.readline()
    return ready.split()[-1]
