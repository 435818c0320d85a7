"""Chaos: parts and functions are struck while photos are uploaded; afterwards every one is accounted for."""
