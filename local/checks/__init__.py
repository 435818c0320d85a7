"""Rules of the project that no ready-made linter knows."""
