"""FastAPI plumbing: problems, middleware, cursors, dependencies."""
