"""The client people use."""

from specter import _native

_native.prefer(__name__, __path__)
