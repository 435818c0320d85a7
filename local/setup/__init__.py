"""Fetch tools once per checkout. These modules import nothing but the standard library: they run before the rest
is installed.
"""
