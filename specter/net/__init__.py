"""Drivers: they move bytes and time between the engine and sockets, and decide nothing."""
