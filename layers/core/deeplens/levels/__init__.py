"""Levels of the platform, measured every minute."""
