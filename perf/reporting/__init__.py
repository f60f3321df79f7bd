"""Turns a directory of measurements into one HTML page that needs nothing else."""
