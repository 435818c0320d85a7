"""Requests to endpoints that tenants name, to public addresses only."""
