"""What edits do to held-out persons, and from which noise level they must start.

python -m benchmarks.edits SIMULATED_CORPUS PTBXL_CORPUS [--persons 200] [--figure docs/edits.svg]
python -m benchmarks.edits SIMULATED_CORPUS PTBXL_CORPUS --sweep [--persons 48]

Every person is drawn in sinus rhythm at a rate between 60 and 100 bpm, and edited with person,
rate and noise fixed. Persons are those that no training saw: all simulated ones (their seed is
another than the training's), and the validation and test splits of PTB-XL. The control is the
unedited ECG drawn again from other noise.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import write_result
from ecgtwin.evaluation.edits import EditReadings, read_edits, recognised, share, with_interval
from ecgtwin.plots.edit_effects import EffectGroup, EffectPanel, draw_edit_effects
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.spec.edit import Add, Edit, EditSpec, Replace, edited_condition
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.editing import Edited, edit_recordings, recording_sampling
from ecgtwin.twin.persons import Reference
from ecgtwin.twin.twin import EcgTwin

SINUS = "sinus rhythm"
EDITS: dict[str, Edit] = {
    "atrial fibrillation": Replace(statement=SINUS, by="atrial fibrillation"),
    "right bundle branch block": Add(statement="right bundle branch block"),
    "left bundle branch block": Add(statement="left bundle branch block"),
}
LEVELS = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
REGULAR, IRREGULAR = 0.06, 0.12  # coefficient of variation of R-R
WIDER_MS = 20.0
BATCH = 32
CONDITION_COLUMNS = ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")
Floats = NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Persons:
    """Held-out persons: base vectors, the sinus condition each is drawn in, and a seed each.

    ``references`` are their recordings, in their own condition.
    """

    base_vectors: Floats
    conditions: list[CardiacCondition]
    seeds: list[int]
    references: list[Reference]

    def __len__(self) -> int:
        return len(self.seeds)


def main() -> None:
    """Measure, print, write the result and the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("simulated")
    parser.add_argument("ptbxl")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--persons", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    twin = EcgTwin.load(arguments.checkpoint)
    sampling = SamplingSpec(num_steps=arguments.steps, guidance_scale=arguments.guidance)
    result: dict[str, object] = {
        "checkpoint": twin.digest,
        "sampling": sampling.model_dump(mode="json"),
    }
    panels: list[EffectPanel] = []
    for name, splits in (("simulated", None), ("ptbxl", ("validation", "test"))):
        corpus = Corpus(getattr(arguments, name))
        persons = held_out(twin, corpus, splits=splits, most=arguments.persons)
        if arguments.sweep:
            result[name] = sweep(twin, persons, sampling)
        else:
            result[name], drawn = effects(twin, persons, sampling)
            panels += figure_panels(name, drawn)
            if name == "ptbxl":
                result["ptbxl_recordings"] = recordings(twin, persons, arguments.guidance)
    print(json.dumps(result, indent=1))
    print(write_result("edit-start" if arguments.sweep else "edits", result))
    if arguments.figure is not None and panels:
        arguments.figure.write_text(draw_edit_effects(panels, num_columns=3) + "\n")


def held_out(twin: EcgTwin, corpus: Corpus, *, splits: Sequence[str] | None, most: int) -> Persons:
    """Return persons by their first recording in sinus rhythm without a bundle branch block."""
    columns = {name: corpus.column(name) for name in CONDITION_COLUMNS}
    split, rows = corpus.column("split"), dict[str, int]()
    for row, patient in enumerate(corpus.column("patient_id")):
        codes = list(columns["statements"][row])
        is_sinus = SINUS in codes and not any("bundle" in code for code in codes)
        if is_sinus and (splits is None or split[row] in splits):
            rows.setdefault(str(patient), row)
    chosen = list(rows.values())[:most]
    own = [condition_from_columns(columns, row) for row in chosen]
    rates = np.random.default_rng(0).uniform(60, 100, len(chosen)).round(1)
    return Persons(
        twin.base_vectors(corpus.samples_mv(chosen), own),
        [
            CardiacCondition(
                statements=(SINUS,), heart_rate_bpm=rate, age_years=one.age_years, sex=one.sex
            )
            for rate, one in zip(rates.tolist(), own, strict=True)
        ],
        list(range(len(chosen))),
        [
            Reference(EcgRecord(one_mv, twin.sampling_rate_hz, "", str(row)), condition)
            for row, one_mv, condition in zip(chosen, corpus.samples_mv(chosen), own, strict=True)
        ],
    )


def sweep(twin: EcgTwin, persons: Persons, sampling: SamplingSpec) -> dict[str, object]:
    """Return for each edit and start level how often it took, and how near the source it stays."""
    found: dict[str, object] = {}
    for name, edit in EDITS.items():
        rows = []
        for level in LEVELS:
            spec = EditSpec(edits=(edit,), start_time=level)
            before, after = edit_all(twin, persons, spec, sampling)
            gap = np.sqrt(((after - before) ** 2).mean(axis=(1, 2)) / (before**2).mean(axis=(1, 2)))
            rows.append(
                {
                    "start_time": level,
                    "took": share(took(name, read(twin, before), read(twin, after))),
                    "recognised": share(known(twin, persons, after, edit)),
                    "relative_change": with_interval(gap),
                }
            )
            print(name, rows[-1], flush=True)
        found[name] = rows
    return found


def effects(
    twin: EcgTwin, persons: Persons, sampling: SamplingSpec
) -> tuple[dict[str, object], dict[str, tuple[EditReadings, EditReadings, EditReadings]]]:
    """Return the figures of every edit beside its control, and what they were taken from."""
    again = [seed + 1_000_000 for seed in persons.seeds]
    control = read(twin, draw_all(twin, persons, again, sampling))
    found: dict[str, object] = {"persons": len(persons)}
    drawn = {}
    for name, edit in EDITS.items():
        before_mv, after_mv = edit_all(twin, persons, EditSpec(edits=(edit,)), sampling)
        before, after = read(twin, before_mv), read(twin, after_mv)
        drawn[name] = before, after, control
        figures: dict[str, object] = {
            "start_time": EditSpec(edits=(edit,)).start_level,
            "rr_variation": three(before, after, control, "rr_variation"),
            "qrs_ms": three(before, after, control, "qrs_ms"),
            "qrs_wider_ms": with_interval(after.qrs_ms - before.qrs_ms),
            "control_qrs_wider_ms": with_interval(control.qrs_ms - before.qrs_ms),
            "took": share(took(name, before, after)),
            "control_took": share(took(name, before, control)),
            "regular_before": share(before.rr_variation < REGULAR),
            "rate_error_bpm": rate_error(persons, after),
            "recognised": share(known(twin, persons, after_mv, edit)),
        }
        if name == "atrial fibrillation":
            crossed = (before.rr_variation < REGULAR) & (after.rr_variation > IRREGULAR)
            rise = after.rr_variation - before.rr_variation
            figures["regular_before_and_irregular_after"] = share(crossed)
            figures["variation_rose"] = share(rise >= IRREGULAR - REGULAR)
            again = control.rr_variation - before.rr_variation
            figures["control_variation_rose"] = share(again >= IRREGULAR - REGULAR)
        found[name] = figures
    before_mv = draw_all(twin, persons, persons.seeds, sampling)
    found["unedited_recognised"] = share(known(twin, persons, before_mv, None))
    return found, drawn


def recordings(twin: EcgTwin, persons: Persons, guidance: float) -> dict[str, object]:
    """Return what the edits do to the recordings themselves, inverted and drawn again."""
    sampling = recording_sampling(twin).model_copy(update={"guidance_scale": guidance})
    found: dict[str, object] = {"sampling": sampling.model_dump(mode="json")}
    for name, edit in EDITS.items():
        pairs = in_batches(
            len(persons),
            partial(_edit_recordings, twin, persons, EditSpec(edits=(edit,)), sampling),
        )
        before_mv = stacked([pair.source for pair in pairs])
        after_mv = stacked([pair.edited for pair in pairs])
        before, after = read(twin, before_mv), read(twin, after_mv)
        conditions = [
            edited_condition(one.condition, EditSpec(edits=(edit,))).condition
            for one in persons.references
        ]
        vectors = twin.base_vectors(after_mv, conditions)
        found[name] = {
            "rr_variation": {
                "before": with_interval(before.rr_variation),
                "after": with_interval(after.rr_variation),
            },
            "qrs_ms": {
                "before": with_interval(before.qrs_ms),
                "after": with_interval(after.qrs_ms),
            },
            "qrs_wider_ms": with_interval(after.qrs_ms - before.qrs_ms),
            "took": share(took(name, before, after)),
            "recognised": share(recognised(vectors, persons.base_vectors)),
        }
    return found


def _edit_recordings(
    twin: EcgTwin, persons: Persons, spec: EditSpec, sampling: SamplingSpec, part: slice
) -> list[Edited]:
    return edit_recordings(twin, persons.references[part], spec, sampling, record_maps=False)


def took(name: str, before: EditReadings, after: EditReadings) -> NDArray[np.bool_]:
    """Say for each person whether the edit shows; one that cannot be measured does not."""
    if name == "atrial fibrillation":
        return after.rr_variation > IRREGULAR
    return after.qrs_ms - before.qrs_ms >= WIDER_MS


def three(
    before: EditReadings, after: EditReadings, control: EditReadings, name: str
) -> dict[str, object]:
    """Return a measure's median before and after the edit, and of the control."""
    return {
        "before": with_interval(getattr(before, name)),
        "after": with_interval(getattr(after, name)),
        "drawn_again": with_interval(getattr(control, name)),
    }


def rate_error(persons: Persons, readings: EditReadings) -> dict[str, float | int | None]:
    """Return the median difference between requested and measured rate."""
    wanted = np.array([one.heart_rate_bpm for one in persons.conditions])
    return with_interval(np.abs(readings.heart_rate_bpm - wanted))


def known(
    twin: EcgTwin, persons: Persons, samples_mv: Floats, edit: Edit | None
) -> NDArray[np.bool_]:
    """Say whether the base extractor still finds each person among all."""
    conditions = persons.conditions
    if edit is not None:
        spec = EditSpec(edits=(edit,))
        conditions = [edited_condition(one, spec).condition for one in conditions]
    return recognised(twin.base_vectors(samples_mv, conditions), persons.base_vectors)


def read(twin: EcgTwin, samples_mv: Floats) -> EditReadings:
    """Measure every ECG."""
    return read_edits(samples_mv, sampling_rate_hz=twin.sampling_rate_hz)


def edit_all(
    twin: EcgTwin, persons: Persons, spec: EditSpec, sampling: SamplingSpec
) -> tuple[Floats, Floats]:
    """Return sources and edited ECGs, each (person, 12, time) in mV."""
    pairs = in_batches(
        len(persons),
        lambda part: twin.edit_many(
            list(persons.base_vectors[part]),
            persons.conditions[part],
            spec,
            persons.seeds[part],
            sampling=sampling,
        ),
    )
    return stacked([pair.source for pair in pairs]), stacked([pair.edited for pair in pairs])


def draw_all(
    twin: EcgTwin, persons: Persons, seeds: Sequence[int], sampling: SamplingSpec
) -> Floats:
    """Return unedited ECGs (person, 12, time) in mV."""
    records = in_batches(
        len(persons),
        lambda part: twin.generate_many(
            list(persons.base_vectors[part]),
            persons.conditions[part],
            seeds[part],
            sampling=sampling,
        ),
    )
    return stacked(records)


def in_batches(num: int, make: Callable[[slice], list[Item]]) -> list[Item]:
    """Return what ``make`` gives for consecutive slices, joined."""
    return [one for start in range(0, num, BATCH) for one in make(slice(start, start + BATCH))]


def stacked(records: Sequence[EcgRecord]) -> Floats:
    """Return the samples (record, 12, time) in mV."""
    return np.stack([record.samples_mv for record in records])


def figure_panels(
    corpus: str, drawn: dict[str, tuple[EditReadings, EditReadings, EditReadings]]
) -> list[EffectPanel]:
    """Return one panel per edit through the measure it is about."""
    where = {"simulated": "simulated persons", "ptbxl": "PTB-XL persons"}[corpus]
    panels = []
    for name, (before, after, control) in drawn.items():
        is_rhythm = name == "atrial fibrillation"
        measure = "rr_variation" if is_rhythm else "qrs_ms"
        groups = [
            group("before", getattr(before, measure)),
            group("edited", getattr(after, measure)),
            group("drawn again\nunedited", getattr(control, measure)),
        ]
        panels.append(
            EffectPanel(
                title=("sinus rhythm > " if is_rhythm else "+ ") + name,
                unit=f"{'variation of R-R' if is_rhythm else 'QRS in ms'}, {where}",
                groups=tuple(groups),
                lines=(REGULAR, IRREGULAR) if is_rhythm else (),
                top=0.6 if is_rhythm else 240.0,
            )
        )
    return panels


def group(label: str, values: NDArray[np.float64]) -> EffectGroup:
    """Return one column of a panel."""
    found = with_interval(values)
    median, low, high = (float(found[name] or 0) for name in ("value", "low", "high"))
    return EffectGroup(label, values, median, low, high)


if __name__ == "__main__":
    main()
