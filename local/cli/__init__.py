"""``deeplens``: the commands that run and operate DeepLens on this machine."""
