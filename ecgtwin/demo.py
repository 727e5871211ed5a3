"""The demo: every step of the system on one machine, from ECGs to a report."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from ecgtwin.cohort_report import measure_cohort, write_cohort_report
from ecgtwin.errors import EcgTwinError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.generation.run import describe_plan, generate_cohort
from ecgtwin.progress import bar
from ecgtwin.sources.ingest import DESCRIPTION_NAME, ingest
from ecgtwin.sources.opening import SIMULATED, open_source
from ecgtwin.sources.source import Source
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.recipe import STAGES, Recipe, load_recipe
from ecgtwin.store.objects import join, object_exists
from ecgtwin.store.reader import Cohort, Corpus
from ecgtwin.training.launch import launch_ranks
from ecgtwin.twin.twin import EcgTwin

SHIPPED = "tiny"
NUM_PROCESSES = 2
NUM_ACTORS = 2
NUM_TWINS = 512
NUM_CONDITIONS = 32
NUM_PATIENTS = NUM_TWINS // NUM_CONDITIONS
RATES_BPM = (45.0, 150.0)
PERSONS, VISITS, SEED = 180, 3, 7  # another seed than the shipped weights: other persons
FINDINGS = (
    "atrial fibrillation",
    "left bundle branch block",
    "right bundle branch block",
    "ventricular premature complex",
    "left ventricular hypertrophy",
)


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What a user may choose of the demo. ``minutes`` bounds the training."""

    source: str
    out: Path
    from_scratch: bool = False
    minutes: float | None = None

    @property
    def has_corpus(self) -> bool:
        """Whether the source is a corpus already."""
        return self.source != SIMULATED and object_exists(join(self.source, DESCRIPTION_NAME))

    @property
    def corpus_url(self) -> str:
        """Where the corpus is, or will be."""
        return self.source if self.has_corpus else str(self.out / "corpus")


def run_demo(settings: DemoSettings) -> None:
    """Run every step that is not done yet; the last one writes ``report.html``.

    Raises SpecificationError where the folder holds a demo with other settings.
    """
    begun = time.monotonic()
    out = settings.out
    _claim(settings)
    with _step(1, "source"):
        source = _open(settings)
    with _step(2, "ingest to a corpus"):
        _ingest(settings, source)
    with _step(3, f"train through DeepSpeed, {NUM_PROCESSES} processes"):
        _train(settings)
    with _step(4, "cohort specification and plan"):
        spec = _specify(settings)
    with _step(5, f"generate with Ray, {NUM_ACTORS} actors"):
        _generate(spec)
    with _step(6, "read back"):
        _say(read_back(str(out / "cohort")))
    with _step(7, "measure"):
        measured = measure_cohort(str(out / "cohort"), say=_say)
    with _step(8, "report"):
        write_cohort_report(
            measured,
            path=out / "report.html",
            training_log=out / "training" / "log.jsonl",
            command=_command(settings),
        )
        _say(f"wrote {out / 'report.html'} and {out / 'results.json'}")
    _say(f"done in {time.monotonic() - begun:.0f} s")


def _say(line: str) -> None:
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


@contextmanager
def _step(number: int, name: str) -> Iterator[None]:
    sys.stdout.write(f"[{number}/8] {name}\n")
    sys.stdout.flush()
    begun = time.monotonic()
    yield
    _say(f"{name}: {time.monotonic() - begun:.0f} s")


def _command(settings: DemoSettings) -> str:
    words = ["ecgtwin demo"]
    if settings.source != SIMULATED:
        words.append(f"--source {Path(settings.source).name}")
    if settings.from_scratch:
        words.append("--from-scratch")
    if settings.minutes is not None:
        words.append(f"--minutes {settings.minutes:g}")
    return " ".join(words)


def _claim(settings: DemoSettings) -> None:
    """Write down the settings, or check that they are those of the demo that is there."""
    wanted = {
        "source": settings.source,
        "from_scratch": settings.from_scratch,
        "minutes": settings.minutes,
    }
    if settings.minutes is not None and not settings.minutes > 0:
        raise SpecificationError(f"--minutes is {settings.minutes:g}; it must be above 0")
    path = settings.out / "settings.json"
    if path.exists():
        found = _read_settings(path)
        if found != wanted:
            raise SpecificationError(
                f"{settings.out} holds a demo with settings {found}, asked for were {wanted}; "
                "give another --out, or delete the folder to start again"
            )
        return
    if settings.out.exists() and not settings.out.is_dir():
        raise SpecificationError(f"{settings.out} is a file; give another --out")
    if settings.out.exists() and any(settings.out.iterdir()):
        raise SpecificationError(
            f"{settings.out} is not empty and holds no demo; give another --out"
        )
    if not settings.has_corpus:
        open_source(settings.source, num_persons=1, visits_per_person=1)  # complains before writing
    if not settings.from_scratch:
        EcgTwin.load(SHIPPED)
    settings.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(wanted) + "\n")


def _read_settings(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise SpecificationError(
            f"{path} is damaged: it is not JSON; delete the folder to start again"
        ) from None


def _open(settings: DemoSettings) -> Source | None:
    """Return the source, None where it is a corpus already."""
    if settings.has_corpus:
        _say(f"{settings.source}: a corpus")
        return None
    source = open_source(settings.source, seed=SEED, num_persons=PERSONS, visits_per_person=VISITS)
    _say(f"{source.name}: {len(source)} records")
    return source


def _ingest(settings: DemoSettings, source: Source | None) -> None:
    if source is None:
        corpus = Corpus(settings.corpus_url)
        splits = dict(zip(corpus.column("person_id"), corpus.column("split"), strict=True))
        num_test = sum(split == "test" for split in splits.values())
        _say(f"{len(corpus):,} records of {len(splits):,} patients, nothing to ingest")
    else:
        num_test = _ingest_source(settings, source)
    if num_test < NUM_PATIENTS:
        raise SpecificationError(
            f"{settings.source}: {num_test} patients are in the test split, the demo needs "
            f"{NUM_PATIENTS}; give a larger source"
        )


def _ingest_source(settings: DemoSettings, source: Source) -> int:
    """Ingest; return how many patients are in the test split."""
    rows = 128 if settings.source == SIMULATED else 64
    # A reader of the demo wants the report of whatever can be used.
    chosen = IngestSpec(
        rows_per_shard=rows, rows_per_chunk=32, test_share=0.15, max_reject_share=1.0
    )
    with bar("  ingest", len(source), "ECG") as advance:
        summary = ingest(
            source,
            settings.corpus_url,
            settings=chosen,
            executor=LocalExecutor(),
            on_shard=advance,
        )
    for line in summary.text().splitlines():
        _say(line)
    for failure in summary.failures:
        raise failure.mistake or EcgTwinError(f"a shard could not be read: {failure.error}")
    return summary.patients_by_split.get("test", 0)


def _recipe(settings: DemoSettings) -> Recipe:
    if settings.from_scratch:
        return load_recipe("tiny")
    recipe = load_recipe("tiny-continue")
    if settings.minutes is None:
        return recipe
    longer = {
        stage: getattr(recipe, stage).model_copy(
            update={
                "training": getattr(recipe, stage).training.model_copy(update={"num_steps": 5000})
            }
        )
        for stage in STAGES
    }
    return recipe.model_copy(update=longer)


def _train(settings: DemoSettings) -> None:
    out = settings.out
    if (out / "twin" / "twin.json").exists():
        _say("already trained")
        return
    recipe = out / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(_recipe(settings).model_dump(mode="json"), sort_keys=False))
    words = ["train", "all", str(recipe), "--corpus", settings.corpus_url]
    words += ["--out", str(out / "twin"), "--folder", str(out / "training")]
    if not settings.from_scratch:
        words += ["--start-from", SHIPPED]
    minutes = settings.minutes or (3.0 if settings.from_scratch else None)
    if minutes is not None:
        words += ["--minutes", str(minutes)]
    code = launch_ranks(NUM_PROCESSES, words)
    if code:
        raise EcgTwinError(f"training ended with exit code {code}; its log is above")
    if not (out / "twin" / "twin.json").exists():
        raise EcgTwinError("training was ended by SIGTERM; the same command goes on from here")


def demo_specification(out: Path, corpus_url: str) -> str:
    """Return the demo's cohort specification as commented YAML.

    The requested rates are evenly spaced over 45 to 150 bpm, every second one in plain sinus
    rhythm and the others in the findings by turns; every patient gets every condition.
    """
    lines = []
    for index in range(NUM_CONDITIONS):
        rate = RATES_BPM[0] + (RATES_BPM[1] - RATES_BPM[0]) * index / (NUM_CONDITIONS - 1)
        statements = ", ".join(_statements(index, rate))
        lines.append(f"  - {{statements: [{statements}], heart_rate_bpm: {rate:.1f}}}")
    conditions = "\n".join(lines)
    return f"""\
# {NUM_PATIENTS} patients that training did not see x {NUM_CONDITIONS} conditions.
version: 1
checkpoint: {out / "twin"}
corpus: {corpus_url}
patients: {{split: test, count: {NUM_PATIENTS}}}
# Rates evenly spaced over 45 to 150 bpm; age and sex are the patient's own.
conditions:
{conditions}
replicates: 1
seed: 0
output: {{url: {out / "cohort"}, rows_per_shard: 64, rows_per_chunk: 16}}
run: {{num_workers: {NUM_ACTORS}}}
"""


def _statements(index: int, rate_bpm: float) -> list[str]:
    sinus = "sinus rhythm"
    if rate_bpm < 60:
        sinus = "sinus bradycardia"
    elif rate_bpm > 100:
        sinus = "sinus tachycardia"
    if index % 2 == 0:
        return [sinus]
    finding = FINDINGS[index // 2 % len(FINDINGS)]
    return [finding] if finding == "atrial fibrillation" else [sinus, finding]


def _specify(settings: DemoSettings) -> CohortSpec:
    path = settings.out / "cohort.yaml"
    if not path.exists():
        path.write_text(demo_specification(settings.out, settings.corpus_url))
    spec = CohortSpec.from_yaml(path)
    _say(f"wrote {path}, valid")
    _say(describe_plan(spec).text)
    return spec


def _generate(spec: CohortSpec) -> None:
    with bar("  generate", describe_plan(spec).num_ecgs_left, "ECG") as advance:
        summary = generate_cohort(
            spec,
            executor=RayExecutor(num_workers=NUM_ACTORS, max_tries=spec.run.max_tries),
            on_outcome=lambda outcome, _: advance(len(outcome.shard)),
        )
    _say(summary.line())
    for failure in summary.failures:
        raise failure.mistake or EcgTwinError(f"a shard failed: {failure.error}")


def read_back(url: str) -> str:
    """Read the cohort with our reader, a torch DataLoader and plain xarray; say what was found."""
    import xarray
    from torch.utils.data import DataLoader

    from ecgtwin.store.torch_dataset import EcgDataset

    cohort = Cohort(url)
    loader = DataLoader(EcgDataset(cohort, seed=0, batch_size=32), batch_size=32)
    num_loaded = sum(len(batch["row"]) for batch in loader)
    with xarray.open_zarr(f"{url}/signals.zarr", consolidated=False) as dataset:
        signals = dataset["samples_mv"]
        shape = ", ".join(f"{name} {size}" for name, size in signals.sizes.items())
        missing = int(signals.isnull().any(("lead", "time")).sum())
    return (
        f"Cohort: {len(cohort)} ECGs; DataLoader: {num_loaded}; "
        f"xarray.open_zarr: {shape}, {missing} uncommitted"
    )
