"""The stages: one verb per file, each takes a batch of parsed events and ports and returns outcomes."""
