"""Images: model, repository, list, read, amend, delete."""
