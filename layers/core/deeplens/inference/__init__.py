"""Embeddings from the inference endpoint, over HTTP or through SageMaker."""
