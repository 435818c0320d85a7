"""Requests to endpoints that tenants name: only to addresses that are nobody's inside."""
