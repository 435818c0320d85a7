"""Check rules of the project that no common linter supports."""
