"""Tenants' objects: S3 and what speaks its API, or a directory."""
