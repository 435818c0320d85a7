"""`deeplens upload`: sending folders of files over HTTP, from any machine."""
