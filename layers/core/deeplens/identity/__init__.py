"""The identity API: OAuth 2.0 and OpenID Connect on Authlib's core, and the pages people sign in with."""
