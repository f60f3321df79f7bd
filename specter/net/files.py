"""Small files of our own that other processes may read at any moment."""

from __future__ import annotations

import os

__all__ = ["replace_file"]


def replace_file(path: str, text: str) -> None:
    """Put ``text`` into the place of a file, which is whole at any moment; only its owner can read it."""
    import tempfile

    folder, name = os.path.split(os.path.abspath(path))
    descriptor, new = tempfile.mkstemp(prefix=name, suffix=".new", dir=folder)  # mode 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
