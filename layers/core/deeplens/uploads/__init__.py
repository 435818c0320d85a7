"""How files come in: by form, directly to the store, in parts."""
