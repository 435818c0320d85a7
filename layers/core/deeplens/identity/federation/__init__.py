"""Sign-in with the OpenID Connect provider of a tenant's own organisation."""
