"""Maintenance: runs in slices, consistency sweeps, storage optimisation."""
