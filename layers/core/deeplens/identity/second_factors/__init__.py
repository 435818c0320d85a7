"""Second factors: authenticator apps with recovery codes, and passkeys, which also sign in without a password."""
