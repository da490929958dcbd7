"""The reason why a process failed, from its log."""

from __future__ import annotations

import re


def reason(text: str) -> str:
    """Return the last line that names an exception, else the last line that is not blank."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    said = [line for line in plain if line] or ["its log is empty"]
    named = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or said)[-1]
