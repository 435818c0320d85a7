"""Search by image, by id and by text."""
