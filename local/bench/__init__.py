"""What DeepLens costs: throughput, latency, cold starts, each beside the bare work it does."""
