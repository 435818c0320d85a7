"""Sign requests to AWS services that have no client, with Signature Version 4."""

from collections.abc import Callable, Mapping

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import NoCredentialsError

type Sign = Callable[[str, bytes, Mapping[str, str]], dict[str, str]]


def signer(service: str, region: str, credentials: Credentials | None = None) -> Sign:
    """Returns what signs a POST of a URL, a body and headers, and returns the headers to send.

    It raises ``NoCredentialsError`` where there are none.

    Parameters
    ----------
    credentials : by default those of the function's role.
    """
    found = credentials or botocore.session.get_session().get_credentials()

    def sign(url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        if found is None:
            raise NoCredentialsError
        request = AWSRequest("POST", url, data=body, headers=dict(headers))
        SigV4Auth(found, service, region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}

    return sign
