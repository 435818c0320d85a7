"""Authentication and authorisation: API keys, bearer tokens, scopes, rate limits and the audit log."""
