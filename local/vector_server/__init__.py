"""Qdrant Edge behind the part of Qdrant's REST API that DeepLens uses: https://api.qdrant.tech/"""
