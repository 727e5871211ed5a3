"""What the command line takes: numbers that make sense, and mistakes told in one line."""

import argparse
from typing import Literal, NoReturn

DESCRIPTION = """\
Personal ECG digital twins: the same person's ECG in another cardiac state.

everything at once:   ecgtwin demo
records to a corpus:  ecgtwin ingest simulated corpus
specify, generate:    ecgtwin spec new cohort.yaml --corpus corpus --url cohort
                      ecgtwin generate cohort.yaml
read, measure:        ecgtwin cohort report cohort
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ecgtwin: error: {message}; see `{self.prog} --help`\n")


def positive_count(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a whole number of at least 1")
    return int(text)


def count_or_all(text: str) -> int | Literal["all"]:
    """Return a whole number of at least 1, or ``all``."""
    if text == "all":
        return "all"
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, needs a whole number of at least 1, or all"
        )
    return int(text)


def natural_seed(text: str) -> int:
    """Return a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a whole number of at least 0")
    return int(text)


def natural_seconds(text: str) -> float:
    """Return a number of at least 0."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a number of at least 0")
    return found


def positive_minutes(text: str) -> float:
    """Return a number above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a number above 0")
    return found


def host_and_port(text: str) -> str:
    """Return ``HOST:PORT`` as it is."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise argparse.ArgumentTypeError(f"found {text!r}, needs HOST:PORT, the port 1 to 65535")
    return text


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, needs a number from 0 to 1")
    return found
