"""The composition root: the container, the handlers and the HTTP applications."""
