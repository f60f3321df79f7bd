"""Pure-Python twins of the compiled modules: the specification in code."""
