"""What the benchmarks share: twins, recorded packets, bare ciphers, alternating measurement."""
