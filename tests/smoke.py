"""Whether an installed Specter has the twins it should have, and works: ``smoke.py compiled`` or ``reference``."""

from __future__ import annotations

import subprocess
import sys

import specter
from specter.testing import Server


def main() -> None:
    expected = sys.argv[1]
    assert specter.__file__.startswith(sys.prefix), specter.__file__
    used = specter.backend()
    library, layers = used.pop("libcrypto"), used.pop("layers")
    assert layers == {"compiled": "compiled", "reference": "interpreted"}[expected], layers
    if sys.platform != "linux":
        del used["udp"]  # its compiled twin is for Linux
    assert set(used.values()) == {expected}, used
    with Server() as server, specter.Client(verify=server.ca_file) as client:
        response = client.get(server.url + "/bytes/1000000")
        assert (response.status_code, len(response.content)) == (200, 1_000_000)
    _check_command()
    print(f"specter {specter.__version__}: {expected}, {library}")


def _check_command() -> None:
    """Without its extra the command says in one line what to install."""
    done = subprocess.run([sys.executable, "-m", "specter", "--help"], capture_output=True, text=True, check=False)
    said = "specter: the command needs click: pip install 'specter[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said), done


if __name__ == "__main__":
    main()
