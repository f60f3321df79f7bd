"""Clients driven without sockets, all by the same server engine: a burst in, acknowledgments out, on a virtual clock."""
