"""Commands of chats and the texts of answers. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deeplens.events.whatsapp import WhatsAppMessage

type Command = Literal["find", "help", "status"]
HELP = (
    "Send a photo or a video and it is added to the collection; you are told when it can be found.\n"
    "Send a photo with the caption *find* to see what it resembles; that photo is not kept.\n"
    "*status* says what is stored and what is in work, *help* shows this text."
)
HINT = "I take photos, videos, and the words *find*, *help* and *status*. Write *help* for more."
UNSUPPORTED = {
    "document": "This file cannot be added: only pictures and videos are taken.",
}
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
    """Images that came from a chat, by what became of them."""

    in_work: int = 0
    searchable: int = 0
    failed: int = 0


def command_of(message: WhatsAppMessage) -> Command | None:
    """The command that a text or caption is; a leading slash, case and blanks do not matter."""
    match (message.content or "").strip().removeprefix("/").casefold():
        case "find":
            return "find"
        case "help":
            return "help"
        case "status":
            return "status"
    return None


def matches(found: Sequence[Found]) -> str:
    if not found:
        return NOTHING_FOUND
    lines = [f"{rank}. {_line(one)}" for rank, one in enumerate(found, start=1)]
    return "\n".join(["Best matches:", *lines])


def _line(one: Found) -> str:
    return f"{one.file_name}, {f'{one.label}, ' if one.label else ''}{one.score:.2f} ({one.image_id})"


def status(name: str, images: int, size_bytes: int, left: int | None, chat: ChatTally) -> str:
    """``left`` is how many images still fit; None where nothing limits them."""
    room = "" if left is None else f", room for {left} more"
    return (
        f"{name} has {images} images, {_size(size_bytes)}{room}.\n"
        f"From this chat: {chat.searchable} searchable, {chat.in_work} in work, {chat.failed} failed."
    )


def searchable(file_name: str) -> str:
    return f"{file_name} is searchable now."


def failed(file_name: str, reason: str) -> str:
    return f"{file_name} could not be processed: {reason}."


def refused(reason: str) -> str:
    """Why a file was not taken."""
    return f"This file was not added: {reason.rstrip('.')}."


def _size(size_bytes: int) -> str:
    amount, unit = float(size_bytes), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {UNITS[unit]}" if unit < 2 else f"{amount:.1f} {UNITS[unit]}"
