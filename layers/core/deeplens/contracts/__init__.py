"""What travels between functions: one pydantic class per topic, camelCase on the wire."""
