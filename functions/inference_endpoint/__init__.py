"""The inference container, which turns images, tensors and texts into embeddings."""
