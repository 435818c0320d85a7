"""The synthetic prober: use the public API as a client does, and measure it."""
