import re
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.common.file_names import file_name_of
from deeplens.common.ids import keyed_id, new_id
from deeplens.http import cursor
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as some

IMAGE_ID = re.compile(r"img_[a-z0-9]{26}")
times = some.integers(946_684_800_000_000, 29_000_000_000_000_000).map(lambda us: datetime.fromtimestamp(us / 1e6, UTC))


@given(times)
def test_new_ids_are_ulids_that_sort_by_millisecond(at: datetime) -> None:
    earlier, later = new_id("img", at), new_id("img", at + timedelta(milliseconds=1))

    assert IMAGE_ID.fullmatch(earlier)
    assert earlier < later
    assert new_id("img", at) != earlier


@given(some.text(max_size=40), some.text(max_size=40))
def test_a_keyed_id_depends_on_tenant_and_key_only(tenant: str, key: str) -> None:
    made = keyed_id("img", f"tenant_{tenant}".replace("\0", ""), key)

    assert IMAGE_ID.fullmatch(made)
    assert made == keyed_id("img", f"tenant_{tenant}".replace("\0", ""), key)
    assert made != keyed_id("img", f"tenant_{tenant}x".replace("\0", ""), key)


@given(times, some.from_regex(IMAGE_ID, fullmatch=True))
def test_cursors_come_back_as_they_were(at: datetime, image_id: str) -> None:
    assert cursor.read(cursor.write((at, image_id))) == (at, image_id)


@given(some.text(max_size=60))
def test_any_other_cursor_is_a_validation_error(text: str) -> None:
    with pytest.raises(RequestValidationError):
        cursor.read(text)


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("", "image.jpg"),
        (None, "image.jpg"),
        ("...", "image.jpg"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("x" * 300 + ".jpg", "x" * 196 + ".jpg"),
        ("写真.jpg", "写真.jpg"),
    ],
)
def test_file_names_are_harmless(given_name: str | None, expected: str) -> None:
    assert file_name_of(given_name, ".jpg") == expected
