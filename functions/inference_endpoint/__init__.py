"""The inference container: images or tensors in, embeddings out."""
