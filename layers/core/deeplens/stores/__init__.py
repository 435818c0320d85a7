"""Customer-owned storage: register, probe, scan, follow."""
