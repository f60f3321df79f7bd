"""Specter: an HTTP/3 client."""

from specter._version import __version__

__all__ = ["__version__"]
