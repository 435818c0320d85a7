"""Fetch tools once per checkout.

These modules import nothing but the standard library, because they run before packages are installed.
"""
