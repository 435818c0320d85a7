"""``deeplens``: the commands that run DeepLens on this machine and look after it."""
