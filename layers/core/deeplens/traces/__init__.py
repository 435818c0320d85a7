"""Traces of images, as operators see them."""
