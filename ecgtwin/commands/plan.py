"""``ecgtwin plan``: what a specification makes, takes and costs, before anything is made."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgtwin.arguments import Parser, positive_count
from ecgtwin.errors import CohortMismatchError, SpecificationError

if TYPE_CHECKING:
    from ecgtwin.generation.estimate import Estimate, KnownRate
    from ecgtwin.generation.prepare import ResolvedCohort
    from ecgtwin.generation.trial import Trial
    from ecgtwin.spec.rates import Prices, RateFile
    from ecgtwin.twin.twin import EcgTwin

    Commands = argparse._SubParsersAction[Parser]

_EXAMPLES = """\
  ecgtwin plan cohort.yaml
  ecgtwin plan cohort.yaml --measure --rate-file rates.json
  ecgtwin plan cohort.yaml --devices 8 --device-kind "NVIDIA H100 80GB HBM3" \\
      --rate-file rates.json --prices prices.yaml
  ecgtwin plan cohort.yaml --preview 8 --preview-out preview.html

prices.yaml: {currency: USD, device_hour: {NVIDIA H100 80GB HBM3: 2.5}, put_per_1000: 0.005,
storage_gb_month: 0.023}
"""


def add_plan(commands: "Commands") -> None:
    """Add ``plan`` to the command line."""
    plan = commands.add_parser(
        "plan",
        help="say what a specification makes, takes and costs",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    plan.add_argument("spec", help="a cohort specification (YAML)")
    plan.add_argument("--devices", type=positive_count, default=1, metavar="N", help="(default: 1)")
    plan.add_argument("--device-kind", metavar="K", help="cpu, or what the driver calls the GPU")
    plan.add_argument("--rate-file", type=Path, metavar="F", help="measured rates (JSON)")
    plan.add_argument(
        "--measure", action="store_true", help="measure rate and size here; added to --rate-file"
    )
    plan.add_argument("--prices", type=Path, metavar="F", help="what things cost (YAML)")
    plan.add_argument("--preview", type=positive_count, metavar="N", help="draw N of the twins")
    plan.add_argument(
        "--preview-out", type=Path, default=Path("preview.html"), help="(default: preview.html)"
    )
    plan.add_argument("--json", action="store_true", help="everything, for programs")
    plan.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> int:
    from ecgtwin.generation.estimate import estimate
    from ecgtwin.generation.plan import plan_text
    from ecgtwin.generation.prepare import resolve_cohort
    from ecgtwin.generation.texts import load_twin
    from ecgtwin.generation.trial import draw_spread, measure_rate
    from ecgtwin.generation.vocabulary import checked_specification
    from ecgtwin.spec.rates import Prices

    spec = checked_specification(arguments.spec)
    prices = None if arguments.prices is None else Prices.from_yaml(arguments.prices)
    rates = _rates(arguments)
    _check_folders(arguments)
    try:
        cohort = resolve_cohort(spec)
    except CohortMismatchError as error:  # nothing is to be written
        print(f"ecgtwin: it cannot be made there: {error}", file=sys.stderr)
        cohort = resolve_cohort(spec, at_url=False)
    twin = load_twin(spec.checkpoint, texts_at=spec.corpus)
    if arguments.measure:
        rates = rates.with_rate(measure_rate(twin, cohort))
        if arguments.rate_file is not None:
            rates.write(arguments.rate_file)
    trial = None if arguments.preview is None else draw_spread(twin, cohort, arguments.preview)
    if trial is not None:
        _write_preview(trial, cohort, arguments.preview_out)
    kind = arguments.device_kind or _kind(rates, twin)
    rate = _known(rates, cohort, twin, kind)
    found = estimate(
        cohort.plan,
        cohort.layout,
        rate=rate,
        num_devices=arguments.devices,
        device_kind=kind,
        stored_share=_measured_share(rates, cohort, twin, trial),
        prices=prices,
    )
    if arguments.json:
        print(json.dumps(_as_json(cohort, found, rate, kind), indent=1))
        return 0
    print(plan_text(cohort.plan))
    for line in _lines(arguments, cohort, found, rate, kind, prices):
        print(line)
    if trial is not None:
        print(arguments.preview_out)
    return 0


def _check_folders(arguments: argparse.Namespace) -> None:
    """Refuse what could not be written, before anything is measured or drawn."""
    given = {"--rate-file": arguments.measure and arguments.rate_file,
             "--preview-out": arguments.preview and arguments.preview_out}  # fmt: skip
    for flag, path in given.items():
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise SpecificationError(
                f"{flag} {path}: cannot be written; its folder must be there, and it a file"
            )


def _rates(arguments: argparse.Namespace) -> "RateFile":
    from ecgtwin.spec.rates import RateFile

    path: Path | None = arguments.rate_file
    if path is None or (arguments.measure and not path.exists()):
        return RateFile()
    return RateFile.read(path)


def _kind(rates: "RateFile", twin: "EcgTwin") -> str:
    """Return the kind that the rates of this checkpoint are of, if it is one; else that of here."""
    from ecgtwin.generation.numerics import device_kind

    kinds = {one.device_kind for one in rates.rates if one.checkpoint == twin.digest}
    return kinds.pop() if len(kinds) == 1 else device_kind(twin.device)


def _measured_share(
    rates: "RateFile", cohort: "ResolvedCohort", twin: "EcgTwin", trial: "Trial | None"
) -> float | None:
    """Return what part of their raw bytes ECGs of this checkpoint take, so stored.

    The device does not matter; of several measurements the one of most ECGs is taken.
    """
    from ecgtwin.generation.trial import stored_form, stored_share

    form = stored_form(cohort.layout)
    of_form = [one for one in rates.rates if (one.checkpoint, one.stored) == (twin.digest, form)]
    if of_form:
        return max(of_form, key=lambda one: one.num_ecgs).compression
    return None if trial is None else stored_share(cohort, trial)


def _known(
    rates: "RateFile", cohort: "ResolvedCohort", twin: "EcgTwin", kind: str
) -> "KnownRate | None":
    from ecgtwin.generation.estimate import reckon_rate
    from ecgtwin.generation.trial import stored_form

    spec = cohort.plan.spec
    return reckon_rate(
        rates.rates,
        checkpoint=twin.digest,
        sampling=spec.sampling or twin.spec.sampling,
        batch_rows=spec.batch_rows,
        stored=stored_form(cohort.layout),
        device_kind=kind,
    )


def _write_preview(trial: "Trial", cohort: "ResolvedCohort", path: Path) -> None:
    from ecgtwin.generation.counts import condition_in_words
    from ecgtwin.plots.report import Drawing, preview_html

    drawings = [
        Drawing(
            samples_mv,
            f"Row {one.row:,}: person {one.person}, {condition_in_words(one.condition)}",
        )
        for one, samples_mv in zip(trial.requests, trial.samples_mv, strict=True)
    ]
    said = (
        f"{len(drawings)} of the {cohort.plan.num_rows:,} ECGs that the specification asks for, "
        "spread evenly over its rows. What stands above each drawing was measured in it."
    )
    page = preview_html(drawings, sampling_rate_hz=cohort.layout.sampling_rate_hz, said=said)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SpecificationError(
            f"{path}: cannot be written ({error.strerror}); its folder must be there"
        ) from None


def _lines(
    arguments: argparse.Namespace,
    cohort: "ResolvedCohort",
    found: "Estimate",
    rate: "KnownRate | None",
    kind: str,
    prices: "Prices | None",
) -> list[str]:
    from ecgtwin.generation.counts import counts_of, counts_text
    from ecgtwin.generation.plan import counted

    lines = counts_text(cohort.plan, counts_of(cohort.plan))
    stored = "not known before a measurement" if found.stored_bytes is None else (
        f"{_size(found.stored_bytes)}, {found.stored_bytes / found.raw_bytes:.0%} of it as measured"
    )  # fmt: skip
    lines.append(
        f"{counted(found.num_shards, 'shard')} of {cohort.layout.rows_per_shard:,} rows, "
        f"{found.num_objects:,} objects, {found.num_puts:,} PUT requests"
    )
    lines.append(f"{_size(found.raw_bytes)} before compression; stored: {stored}")
    if rate is None:
        lines.append(
            f"time is not known: no rate of this checkpoint on {kind!r} is at hand; --measure "
            "finds that of this machine, --rate-file reads others"
        )
    else:
        assert found.device_hours is not None
        assert found.wall_hours is not None
        lines.append(
            f"{_hours(found.device_hours)} of {kind} at {rate.ecgs_per_second:,.3g} ECGs a second; "
            f"on {arguments.devices:,} of them {_hours(found.wall_hours)}"
        )
        lines.append(f"  {_origin(rate)}")
    gates = cohort.plan.spec.gates
    if gates is not None and gates.attempts > 1:
        lines.append(
            f"  counted is one draw an ECG; accept: {gates.accept} draws up to {gates.attempts}, "
            "and puts an object more for each shard with rejects"
        )
    for what, cost in found.costs.items():
        amount = f"{cost:,.2f}" if cost >= 1 else f"{cost:.2g}"
        lines.append(f"  {what}: {amount} {prices.currency if prices else ''}")
    if prices is not None and prices.device_hour and "devices" not in found.costs:
        lines.append(f"  no price of {kind!r}; there are {', '.join(prices.device_hour)}")
    return lines


def _origin(rate: "KnownRate") -> str:
    measured = rate.rate
    when = f"measured on {measured.measured_on}, {measured.num_ecgs:,} ECGs"
    return when if rate.is_measured else f"an extrapolation: {'; '.join(rate.taken_from)} ({when})"


def _as_json(
    cohort: "ResolvedCohort", found: "Estimate", rate: "KnownRate | None", kind: str
) -> dict[str, Any]:
    from ecgtwin.generation.counts import counts_of, state_in_words

    plan, counts = cohort.plan, counts_of(cohort.plan)
    return {
        "plan_digest": plan.digest,
        "estimate": asdict(found),
        "device_kind": kind,
        "rate": None if rate is None else {
            "ecgs_per_second": rate.ecgs_per_second,
            "extrapolated": list(rate.taken_from),
            "measured": rate.rate.model_dump(mode="json"),
        },
        "splits": {
            split: {"patients": num_patients, "ecgs": num_rows}
            for split, (num_patients, num_rows) in counts.of_splits.items()
        },
        "conditions": [
            {"condition": state_in_words(state), "ecgs": num}
            for state, num in zip(plan.states, counts.of_states.tolist(), strict=True)
        ],
        "patients": dict(
            zip(plan.patients.person.tolist(), counts.of_patients.tolist(), strict=True)
        ),
        "removed": [
            {"constraint": one.text, "false": removed.false, "unknown": removed.unknown}
            for one, removed in zip(plan.constraints, plan.admission.removed, strict=True)
        ],
    }  # fmt: skip


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if num_bytes < 1000 or unit == "TB":
            return f"{num_bytes:,.0f} {unit}" if unit == "B" else f"{num_bytes:,.3g} {unit}"
        num_bytes /= 1000
    raise AssertionError(num_bytes)


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.1f} s"
    return f"{hours * 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"
