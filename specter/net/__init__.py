"""Drivers: they move bytes and time between the engine and sockets, and decide nothing."""

from specter import _native

_native.prefer(__name__, __path__)
