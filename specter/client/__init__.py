"""The client people use."""
