"""Metering, budgets and export."""
