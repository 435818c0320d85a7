"""File formats, recognised by their first bytes."""
