"""Measure throughput, latency and cold starts, and compare each with the bare work."""
