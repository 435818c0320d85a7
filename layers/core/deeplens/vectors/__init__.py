"""The vector index: Qdrant, and what a point carries."""
