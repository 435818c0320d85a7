"""Sessions of browsers and access of applications: shown to their users and administrators, and ended by them."""
