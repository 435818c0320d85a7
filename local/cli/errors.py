"""Print errors without a traceback, in one or two lines that say what happened and what to do next."""

import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from deeplens.errors import DeepLensError, DependencyUnavailable, PipelineError
from pydantic import ValidationError

from local.cli.screen import print_error
from local.runner.template import TemplateError
from local.services import ServiceFailed
from local.stack.config import LocalConfig

HINT = "See `deeplens status` and `deeplens logs NAME`. Without a running stack, check the configured address."
VENDORS = {
    ("psycopg", "Error"): "database",
    ("sqlalchemy", "SQLAlchemyError"): "database",
    ("confluent_kafka", "KafkaException"): "broker",
    ("cimpl", "KafkaException"): "broker",
    ("botocore", "BotoCoreError"): "AWS endpoint",
    ("botocore", "ClientError"): "AWS endpoint",
    ("qdrant_client", "ApiException"): "vector index",
    ("httpx", "HTTPError"): "HTTP request",
    ("urllib3", "HTTPError"): "HTTP request",
}
"""Services by package and class of their errors. Names are compared, so that no vendor package is imported."""
LOCAL_FAULTS = {
    ("sqlite3", "Error"): "The journal cannot be written",
    ("json", "JSONDecodeError"): "A file contains no valid JSON",
    ("builtins", "UnicodeDecodeError"): "A file is not a text file",
    ("subprocess", "SubprocessError"): "A program that DeepLens started failed",
}


def report(error: Exception) -> None:
    """Print what happened and what to do next; write the traceback of an unexpected error to a log."""
    lines = explain(error)
    if lines is None:
        path = write_traceback(error)
        lines = (
            f"{type(error).__name__}: {_first_line(error)}\nThis is a defect of DeepLens; the traceback is in {path}"
        )
    print_error(lines)


def explain(error: Exception) -> str | None:
    """Return one or two lines about an operational fault; None for an error that is a defect of DeepLens."""
    match error:
        case ServiceFailed() | TemplateError():
            return str(error)
        case DependencyUnavailable():
            return f"{error}\n{HINT}"
        case PipelineError():
            return f"{error.code}: {error}" if str(error) else error.code
        case DeepLensError():
            return str(error) or type(error).__name__
        case ValidationError() if error.title in ("LocalConfig", "Settings"):
            return _about_settings(error)
    if service := _lookup(error, VENDORS):
        return f"{service} failed: {_first_line(error)}\n{HINT}"
    if problem := _lookup(error, LOCAL_FAULTS):
        return f"{problem}: {_first_line(error)}"
    return _about_system(error) if isinstance(error, OSError) else None


def write_traceback(error: Exception) -> Path:
    """Append the traceback to ``cli.log`` in the log folder, or in a temporary folder if that is not writable."""
    text = f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{''.join(traceback.format_exception(error))}\n"
    try:
        folder = LocalConfig().log_dir.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return _append(folder / "cli.log", text)
    except (OSError, ValidationError):
        return _append(Path(tempfile.mkdtemp(prefix="deeplens-")) / "cli.log", text)


def _append(path: Path, text: str) -> Path:
    with path.open("a") as log:
        log.write(text)
    return path


def _lookup(error: Exception, table: dict[tuple[str, str], str]) -> str | None:
    """Return the table's value for the package and name of the error's class or its first known base class."""
    names = ((cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__)
    return next((table[name] for name in names if name in table), None)


def _about_settings(error: ValidationError) -> str:
    """Describe each invalid setting, under the name of its environment variable."""
    prefix = "DEEPLENS_" if error.title == "LocalConfig" else ""
    lines = []
    for problem in error.errors():
        name = "_".join(map(str, problem["loc"])).upper()
        lines.append(f"{name if name.startswith(prefix) else prefix + name}={problem['input']}: {problem['msg']}")
    return "\n".join(lines)


def _about_system(error: OSError) -> str:
    """Describe a fault of disk, files, ports or network, with the file if it is known."""
    at = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{at}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
