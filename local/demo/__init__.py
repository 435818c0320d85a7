"""The demo: process real photos and copies of them, and search with the copies."""
