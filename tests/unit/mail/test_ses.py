"""Mail through Amazon SES, as moto answers for it."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from deeplens.errors import MailRejected, MailUnavailable
from deeplens.mail.ports import Mail
from deeplens.mail.ses import SesMailer
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

SENDER, REGION = "no-reply@example.test", "eu-central-1"
MAIL = Mail("ada@example.test", "Größe", "Text ä\n\nhttps://id.example.test/x", "<p>Text ä</p>")


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("sesv2", region_name=REGION)
        client.create_email_identity(EmailIdentity=SENDER)
        yield client


def test_a_mail_is_sent_as_text_and_html(ses: Any) -> None:
    SesMailer(lambda: ses, SENDER, "").send(MAIL)
    (sent,) = ses_backends[DEFAULT_ACCOUNT_ID][REGION].sent_messages
    assert (sent.source, sent.destinations["ToAddresses"]) == (SENDER, [MAIL.recipient])
    # moto checks the request against the model of SES, and of the two bodies keeps the HTML.
    assert (sent.subject, sent.body) == (MAIL.subject, MAIL.html)


class Recording:
    """What SES was asked, or an error that it answers."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, dict[str, Any]()

    def send_email(self, **asked: Any) -> None:
        self.asked = asked
        if self.error:
            raise self.error


def test_a_configuration_set_is_named_if_the_deployment_has_one() -> None:
    with_set, without = Recording(), Recording()
    SesMailer(lambda: with_set, SENDER, "bounces").send(MAIL)
    SesMailer(lambda: without, SENDER, "").send(MAIL)
    assert with_set.asked["ConfigurationSetName"] == "bounces"
    assert "ConfigurationSetName" not in without.asked
    assert without.asked["Content"]["Simple"]["Body"]["Text"] == {"Data": MAIL.text, "Charset": "UTF-8"}


def failed(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "SendEmail")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failed("MessageRejected"), MailRejected),
        (failed("BadRequestException"), MailRejected),
        (failed("TooManyRequestsException"), MailUnavailable),
        (failed("SendingPausedException"), MailUnavailable),
        (failed("MailFromDomainNotVerifiedException"), MailUnavailable),
        (failed("AccessDeniedException"), MailUnavailable),
        (EndpointConnectionError(endpoint_url="https://email"), MailUnavailable),
    ],
)
def test_an_error_is_about_this_mail_or_about_all(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        SesMailer(lambda: Recording(error), SENDER, "").send(MAIL)


def test_a_deployment_without_a_sender_keeps_its_mail() -> None:
    with pytest.raises(MailUnavailable, match="MAIL_SENDER"):
        SesMailer(Recording, "", "").send(MAIL)
