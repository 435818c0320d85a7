"""Train the built-in model on generated images: ``python -m functions.inference_endpoint.training.build``."""
