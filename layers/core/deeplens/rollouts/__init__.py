"""Changing a tenant's embedding model without downtime."""
