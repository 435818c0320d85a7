"""Kill and freeze services and functions while clients upload photos, then check that no photo was lost."""
