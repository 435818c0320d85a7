"""Qdrant Edge in one owning process, speaking the part of Qdrant's REST API that DeepLens uses."""
