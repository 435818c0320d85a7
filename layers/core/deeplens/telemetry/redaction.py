"""Take secrets out of text: the last guard of a log line, whatever an exception of a library says."""

import re

REDACTED = "[redacted]"
SECRETS = re.compile(
    r"""
      (?P<keep1>\bdl_[0-9a-f]{12}_)[0-9a-f]{16,}                    # API keys; their prefix names them
    | (?P<keep2>\bwhsec_)[A-Za-z0-9+/=]{16,}
    | \beyJ[\w-]+\.[\w-]+\.[\w-]+                                   # JSON Web Tokens
    | (?P<keep3>\b(?:Bearer|Basic)\ )[\w.~+/=-]{8,}
    | (?P<keep4>\b[a-z][a-z0-9+]*://[^\s:/@"]*:)[^\s/@"]+(?=@)      # passwords in URLs
    | (?P<keep5>[?&](?:signature|sig|token|code|state|X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential)=)[^&\s"\\]+
    | (?P<keep6>(?:password|secret|token|api_?key)['\\"]*\s*[=:]\s*['\\"]*)[^\s'"\\,;})]{4,}
    | (?P<keep7>\bKey\ \((?:[^()]|\([^()]*\))*\)=\()(?:[^)]|\)(?!\ ))*(?=\)\ )     # values in errors of PostgreSQL
    """,
    re.VERBOSE | re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text, with keys, tokens, passwords, signatures and values of rows replaced."""
    return SECRETS.sub(lambda match: f"{match[match.lastgroup] if match.lastgroup else ''}{REDACTED}", text)
