"""The ``deeplens`` commands, which run and operate DeepLens on this machine."""
