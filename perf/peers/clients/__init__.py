"""One adapter a client; each module is imported in the environment of its own client alone."""
