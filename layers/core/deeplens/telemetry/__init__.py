"""Logs, metrics, security events and traces."""
