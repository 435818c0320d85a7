"""Commands of chats and the texts of answers. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.tenants.limits import Storage

type Command = Literal["find", "help", "status"]
COMMANDS: tuple[Command, ...] = ("find", "help", "status")
HELP = (
    "Send a photo or a video and it is added to the collection; you get a message when it can be found.\n"
    "Send a photo with the caption *find* to see what it resembles; that photo is not kept.\n"
    "*status* says what is stored and what is in progress, *help* shows this text."
)
HINT = "I accept photos, videos, and the words *find*, *help* and *status*. Write *help* for more."
UNSUPPORTED = {"document": "This file cannot be added: only pictures and videos are accepted."}
"""By kind of media. Stickers and voice messages get no answer."""
FIND_WHAT = "Send *find* as the caption of a photo, so that I know what to look for."
EXPIRED = "WhatsApp no longer has this file, so it could not be added. Please send it again."
NOTHING_FOUND = "Nothing in the collection resembles this photo."
DELETED = "It was deleted before it could be found."
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Found:
    """A match in an answer; ``label`` is empty where the model has no thresholds."""

    image_id: str
    file_name: str
    score: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class ChatTally:
    """Images that came from a chat, by their state."""

    in_work: int = 0
    searchable: int = 0
    failed: int = 0


def command_of(message: WhatsAppMessage) -> Command | None:
    """The command that a text or caption is; a leading slash, case and blanks do not matter."""
    word = (message.content or "").strip().removeprefix("/").casefold()
    return next((command for command in COMMANDS if command == word), None)


def matches(found: Sequence[Found]) -> str:
    if not found:
        return NOTHING_FOUND
    lines = [
        f"{rank}. {match.file_name}, {match.label and f'{match.label}, '}{match.score:.2f} ({match.image_id})"
        for rank, match in enumerate(found, start=1)
    ]
    return "\n".join(["Best matches:", *lines])


def status(name: str, stored: Storage, images_left: int | None, chat: ChatTally) -> str:
    """``images_left`` is how many images still fit; None where nothing limits them."""
    room = "" if images_left is None else f", room for {images_left} more"
    return (
        f"{name} has {stored.images} images, {_size(stored.bytes)}{room}.\n"
        f"From this chat: {chat.searchable} searchable, {chat.in_work} in progress, {chat.failed} failed."
    )


def media_ended(file_name: str, error: str | None) -> str:
    """That an image or a video is searchable, or why it is not."""
    return f"{file_name} is searchable now." if error is None else f"{file_name} could not be processed: {error}."


def refused(reason: str) -> str:
    """Why a file was not accepted."""
    return f"This file was not added: {reason.rstrip('.')}."


def _size(size_bytes: int) -> str:
    amount, unit = float(size_bytes), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {UNITS[unit]}" if unit < 2 else f"{amount:.1f} {UNITS[unit]}"
