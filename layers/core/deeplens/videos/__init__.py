"""Videos: model, frames, repository, API."""
