"""Measurements that claims rest on: kept in ``docs/benchmarks``, and the README's tables made from them."""
