"""Duplicates: pairs, groups, review, merges."""
