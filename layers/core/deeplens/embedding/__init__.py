"""Embedding models and the inference endpoint."""
