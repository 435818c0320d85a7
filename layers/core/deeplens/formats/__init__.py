"""Detect file formats by the first bytes."""
