"""Serve Qdrant Edge, Qdrant's embedded engine, with the part of Qdrant's REST API that DeepLens uses."""
