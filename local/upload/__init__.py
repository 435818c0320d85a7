"""Send folders of files over HTTP, from any machine, for ``deeplens upload``."""
