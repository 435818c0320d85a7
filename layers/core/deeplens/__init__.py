"""DeepLens: the code every function shares."""
