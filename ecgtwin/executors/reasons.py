"""One line of what a traceback, or Ray, says at length."""


def first_line(reason: str) -> str:
    """Return the first line."""
    return reason.strip().partition("\n")[0]


def last_line(error: str | None) -> str:
    """Return the last line, which of a traceback has what was raised; nothing of nothing."""
    return (error or "").strip().rpartition("\n")[2]


def both_ends(reason: str) -> str:
    """Return the first line, and the last one where that is another."""
    first, last = first_line(reason), last_line(reason)
    return first if first == last else f"{first} ... {last.strip()}"
