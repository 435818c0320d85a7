"""Tenants created, migrated, deleted."""
