"""Client stacks without sockets, all fed by one server engine: a burst in, acknowledgments out, on a virtual clock."""
