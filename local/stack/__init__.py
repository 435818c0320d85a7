"""Configure and start the whole platform on one machine, and create its development data."""
