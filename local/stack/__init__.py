"""The whole platform on one machine: its configuration, its start and its development data."""
