"""Signed notifications to tenants' endpoints."""
