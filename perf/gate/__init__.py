"""The gate: paced GETs and tunnels, every client in turn, and a verdict that has to be earned."""
