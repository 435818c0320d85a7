"""The demo: real photos and their copies through the whole pipeline, and back as search results."""
