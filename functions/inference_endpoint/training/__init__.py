"""How the built-in model is made, from nothing but seeds: ``python -m functions.inference_endpoint.training.build``."""
