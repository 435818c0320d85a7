"""Measure throughput, latency and cold starts, each beside the bare work."""
