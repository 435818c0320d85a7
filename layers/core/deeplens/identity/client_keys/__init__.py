"""Clients that authenticate with a private key (RFC 7523, ``private_key_jwt``)."""
