"""Cython twins of ``specter._reference``."""
