"""Throughput and scale: the same work for every client, against three servers."""
