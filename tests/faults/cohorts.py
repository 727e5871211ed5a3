"""``ecgtwin generate`` of one tiny cohort, to be run as often as it takes, and its check."""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import is_s3
from ecgtwin.store.verify import verify
from tests.faults.runs import Preparation, Run, fault_settings
from tests.generation.corpora import make_spec, objects_under, s3_objects_under

NUM_SHARDS = 6
MAX_RUNS = 12
_REFUSED = re.compile(r"^ecgtwin: (error|shard \d+ failed): ", re.MULTILINE)


def specification(inputs: Path, url: Path | str, **changes: Any) -> CohortSpec:
    """24 rows, six shards."""
    return make_spec(inputs, url, **({"replicates": 2} | changes))


def make_undisturbed(inputs: Path, url: Path | str, **changes: Any) -> dict[str, bytes]:
    """Return the objects of a cohort that nobody disturbed."""
    spec = specification(inputs, url, **changes)
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return objects_at(spec.output.url)


def objects_at(url: str) -> dict[str, bytes]:
    """Return every object at ``url``, temporary files too, but the records of runs."""
    return s3_objects_under(url) if is_s3(url) else objects_under(url)


def check_cohort(url: str, undisturbed: dict[str, bytes]) -> None:
    """The cohort is whole and the same, object by object."""
    problems = verify(url)
    assert problems == [], f"verify found: {problems}"
    found = objects_at(url)
    surplus, missing = found.keys() - undisturbed.keys(), undisturbed.keys() - found.keys()
    assert not surplus, f"left behind: {sorted(surplus)}"
    assert not missing, f"lost: {sorted(missing)}"
    differing = [name for name in found if found[name] != undisturbed[name]]
    assert differing == [], f"other bytes: {differing}"


def until_finished(run: Callable[[], int], log: Path) -> int:
    """Run a command again and again; each run before the last says what is wrong in clear lines.

    Returns how often it was run.
    """
    for number in range(1, MAX_RUNS + 1):
        before = len(log.read_text())
        code = run()
        said = log.read_text()[before:]
        assert "Traceback" not in said, f"no clear line: {said}"
        if code == 0:
            return number
        assert code in (1, 2), f"ended with {code}: {said}"
        lines = len(_REFUSED.findall(said))
        assert lines == 1 or (code == 1 and lines), f"{lines} lines say why: {said}"
    raise AssertionError(f"not finished after {MAX_RUNS} runs: {log.read_text()}")


class Command:
    """One way of calling it. Several may have the same ``url``, each a ``folder`` of its own."""

    def __init__(
        self,
        inputs: Path,
        folder: Path,
        *,
        url: str | None = None,
        executor: str = "local",
        more: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
        before: Preparation | None = None,
        **changes: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        spec = specification(inputs, url or folder / "cohort", **changes)
        self.url = spec.output.url
        self.log = folder / "log.txt"
        self.log.touch()
        self._kills = folder / "kills"
        self._kills.mkdir()
        path = folder / "cohort.yaml"
        path.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
        self._is_ray = executor == "ray"
        self._settings, self._before = settings or {}, before
        workers = ["--workers", "2"] if executor == "ray" else []
        self._words = ["generate", str(path), "--executor", executor, *workers, *more]

    @contextmanager
    def started(self, *, kill: str = "", stop: str = "", pause_s: float = 0.0) -> Iterator[Run]:
        """Start it; processes die at the steps named by ``kill``, and stop at ``stop``, once."""
        keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        faults = fault_settings(self._kills, kill=kill, stop=stop, pause_s=pause_s)
        run = Run(
            self._words,
            keys | faults | self._settings,
            self.log,
            own_process=self._is_ray,
            before=self._before,
        )
        try:
            yield run
        finally:
            run.clean_up()

    def run(self, *, kill: str = "") -> int:
        """Run it to its end; return the exit code."""
        with self.started(kill=kill) as run:
            return run.wait()

    def must_finish(self) -> None:
        """Run it to its end, which is a good one."""
        code = self.run()
        assert code == 0, f"ended with {code}: {self.log.read_text()}"

    def must_die(self, step: str) -> None:
        """Run it, and have it killed at ``step``."""
        code = self.run(kill=step)
        assert code == -9, f"not killed at {step} but ended with {code}: {self.log.read_text()}"

    def run_until_finished(self) -> int:
        """Run it again and again, as ``until_finished`` does; return how often."""
        return until_finished(self.run, self.log)

    def num_committed(self) -> int:
        return len(committed_shards(self.url))

    def has_carried_out(self) -> list[str]:
        """Return the steps at which a process was killed or stopped, sorted."""
        return sorted(path.name for path in self._kills.iterdir())


def commits(url: Path | str) -> Counter[int]:
    """Return by shard how many runs say that they committed it: the records of all runs."""
    return Counter(
        line["shard"]
        for path in Path(url).glob("runs/*/shards-*.jsonl")
        for line in map(json.loads, path.read_text().splitlines())
        if line["result"] and line["result"]["was_ours"]
    )
