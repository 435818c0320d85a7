"""Decode, standardise and hash images with Pillow; pure functions on bytes."""
