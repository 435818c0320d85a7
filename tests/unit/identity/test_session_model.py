"""When sessions end, and how devices are named."""

from datetime import UTC, datetime, timedelta

import pytest
from deeplens.identity.sessions.model import OpenSession, SessionLimits

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = SessionLimits(idle=timedelta(minutes=30), absolute=timedelta(hours=12))


@pytest.mark.parametrize(
    ("signed_in_minutes", "seen_minutes", "ended"),
    [(0, 0, False), (29, 29, False), (30, 30, True), (719, 0, False), (720, 0, True), (719, 29, False)],
)
def test_a_session_ends_by_either_limit(signed_in_minutes: int, seen_minutes: int, ended: bool) -> None:
    signed_in, seen = (NOW - timedelta(minutes=minutes) for minutes in (signed_in_minutes, seen_minutes))
    assert LIMITS.ended(signed_in, seen, NOW) is ended


MOZILLA = "Mozilla/5.0"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        (f"{MOZILLA} (X11; Linux x86_64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"{MOZILLA} (Linux; Android 14) {WEBKIT} Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{MOZILLA} (Windows NT 10.0) {WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (f"{MOZILLA} (Windows NT 10.0) {WEBKIT} Chrome/140.0 Safari/537.36 OPR/120.0", "Opera on Windows"),
        (f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15) {WEBKIT} Version/18.0 Safari/605.1.15", "Safari on macOS"),
        (f"{MOZILLA} (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} CriOS/140.0 Safari/604.1", "Chrome on iPhone"),
        (f"{MOZILLA} (iPad; CPU OS 18_0 like Mac OS X) {WEBKIT} Version/18.0 Safari/604.1", "Safari on iPad"),
        (f"{MOZILLA} (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/140.0 Safari/537.36", "Chrome on ChromeOS"),
        ("curl/8.5.0", "curl"),
        ("a program", "Unknown device"),
        ("", "Unknown device"),
    ],
)
def test_a_device_has_a_plain_name(user_agent: str, name: str) -> None:
    assert OpenSession("id", NOW, NOW, user_agent, "", ()).device == name
