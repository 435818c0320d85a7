"""Failed records: retries, dead letters, replay."""
