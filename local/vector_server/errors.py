"""Errors with Qdrant's status codes and messages."""


class RequestError(Exception):
    """The request cannot be served.

    Parameters
    ----------
    status : HTTP status.
    message : text in the response's ``{"status": {"error": message}}``.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def bad_request(message: str) -> RequestError:
    return RequestError(400, f"Wrong input: {message}")


def not_found(message: str) -> RequestError:
    return RequestError(404, f"Not found: {message}")
