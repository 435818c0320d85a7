"""The error of the server, answered as Qdrant would."""


class Refused(Exception):
    """A request that cannot be carried out.

    Parameters
    ----------
    status : HTTP status.
    message : text of ``{"status": {"error": message}}``.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def bad_request(message: str) -> Refused:
    return Refused(400, f"Wrong input: {message}")


def not_found(message: str) -> Refused:
    return Refused(404, f"Not found: {message}")
