"""A process of the command line that can be watched and killed, with all that it started."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ecgtwin.cli import main

REPOSITORY = Path(__file__).parents[2]
DEADLINE_S = 240.0
CI_ROUNDS = 5
ROUNDS = int(os.environ.get("ECGTWIN_FAULT_ROUNDS", CI_ROUNDS))  # random faults of each kind

Preparation = Callable[[], None]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "ecgtwin.cli",
        "ecgtwin.executors.local",
        "ecgtwin.generation.run",
        "ecgtwin.sources.ingest",
        "ecgtwin.sources.simulated",
        "s3fs",
        "zarr",
    ]
)


def in_a_process(
    words: list[str], settings: dict[str, str], log: Path, before: Preparation | None
) -> None:
    """Be ``ecgtwin`` with these words: what a forked process does."""
    os.environ.update(settings)
    with log.open("a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    if before is not None:
        before()
    raise SystemExit(main(words))


class Run:
    """One process of the command, and all that it ever started.

    Ray needs a process of its own; the rest is forked from one that has the imports behind it.
    A forked process calls ``before`` first.
    """

    def __init__(
        self,
        words: list[str],
        settings: dict[str, str],
        log: Path,
        *,
        own_process: bool,
        before: Preparation | None = None,
    ) -> None:
        self._process: subprocess.Popen[bytes] | Any
        if own_process:
            assert before is None, "only a forked process can be prepared"
            with log.open("a") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ecgtwin", *words],
                    cwd=REPOSITORY,
                    env=os.environ | settings,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
        else:
            self._process = FORKS.Process(target=in_a_process, args=(words, settings, log, before))
            self._process.start()
        self._root = psutil.Process(self._process.pid)
        self._seen = {self._root}

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal, None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        code: int | None = self._process.exitcode
        return code

    def wait(self) -> int:
        """Return the exit code."""
        self.wait_until(lambda: False)
        assert self.exit_code is not None
        return self.exit_code

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Return when ``done``, or when the process has ended."""
        deadline = time.monotonic() + DEADLINE_S
        look_again = 0.0
        while not done() and self.exit_code is None:
            now = time.monotonic()
            assert now < deadline, "the command hangs"
            if now > look_again:  # seldom: it reads the tables of all processes
                self._seen.update(self.descendants())
                look_again = now + 1
            time.sleep(0.02)

    def descendants(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return self._root.children(recursive=True)
        return []

    def actors(self) -> list[psutil.Process]:
        """Return the Ray actors, which name themselves after their class."""
        return self._named("ray::_Worker")

    def raylets(self) -> list[psutil.Process]:
        """Return the raylets: one for each node of the cluster that it started."""
        return self._named("/raylet/raylet")

    def _named(self, part: str) -> list[psutil.Process]:
        found = []
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if part in "".join(process.cmdline()[:1]):
                    found.append(process)
        return found

    def is_stopped(self) -> bool:
        """Say whether it waits to be continued."""
        with suppress(psutil.NoSuchProcess):
            return self._root.status() == psutil.STATUS_STOPPED
        return False

    def wait_until_stopped(self) -> None:
        self.wait_until(self.is_stopped)
        assert self.exit_code is None, f"it ended with {self.exit_code} before it was stopped"

    def go_on(self) -> None:
        """Continue it where it was stopped."""
        self._root.resume()

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def clean_up(self) -> None:
        """Kill, by process id, what is left of it."""
        if self.exit_code is None:
            self._seen.update(self.descendants())
            self.kill()
        _, alive = psutil.wait_procs(list(self._seen), timeout=3)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=10)


def fault_settings(
    kills: Path, *, kill: str = "", stop: str = "", pause_s: float = 0.0
) -> dict[str, str]:
    """Return the environment in which a process dies, or stops, at these steps, each once."""
    return {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "ECGTWIN_COMMIT_HOOK": "tests.faults.kill_hook:on_stage",
        "ECGTWIN_KILL": kill,
        "ECGTWIN_STOP": stop,
        "ECGTWIN_KILL_FOLDER": str(kills),
        "ECGTWIN_PAUSE": str(pause_s),
    }
