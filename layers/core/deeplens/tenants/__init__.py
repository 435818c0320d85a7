"""The tenant: its row, limits, policies and directory."""
