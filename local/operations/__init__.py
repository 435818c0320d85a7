"""What operators run against an installation, and the stack at its start: topics and migrations."""
