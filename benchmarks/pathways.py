"""AdaX against each of its pathways alone, trained at equal compute.

python -m benchmarks.pathways ADAX ADAPTIVE_NORM CROSS_ATTENTION SIMULATED PTBXL [--persons 200]

The three twins share VAE and base extractor; their denoisers were trained alike, from nothing, by
the recipes ``pathways-adax``, ``pathways-adaptive-norm`` and ``pathways-cross-attention``. Persons
are those of the validation and test splits, each by one recording. Every person is drawn once, at
a rate between 45 and 150 bpm that does not follow from the person, in the sinus rhythm of that
rate. Without adaptive normalisation nothing tells the person but age and sex, and without
cross-attention nothing tells the condition: what those two must fail at says nothing of them.

Likeness is by base vectors of an extractor that is told nothing. One that is told age and sex
knows the person by them: it recognised the noise of an untrained denoiser (AUROC 0.89).
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.base_extractor import UNSEEN, vectors_of
from benchmarks.edits import in_batches, stacked
from benchmarks.facts import write_result
from ecgtwin.errors import SpecificationError
from ecgtwin.evaluation.bootstrap import Resampled, mean_over_persons, person_weights
from ecgtwin.evaluation.heart_rate import heart_rate_fidelity
from ecgtwin.evaluation.identity import cosine_similarity
from ecgtwin.evaluation.readings import read_ecgs
from ecgtwin.evaluation.retrieval import pooled_auroc, shares_above
from ecgtwin.signals.leads import twelve_leads
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.recipe import DenoiserRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.store.reader import Corpus
from ecgtwin.training.cost import cost_of
from ecgtwin.training.data import DenoiserBatches
from ecgtwin.training.objectives import Batch, DenoiserObjective
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.twin.encoding import base_vectors_digest
from ecgtwin.twin.twin import EcgTwin

NAMES = ("adax", "adaptive_norm", "cross_attention")
PATHWAYS = {"adax": (True, True), "adaptive_norm": (True, False), "cross_attention": (False, True)}
RATES_BPM = (45.0, 150.0)
LOSS_BATCHES, LOSS_BATCH = 64, 32
MOST_APART = 0.03  # of the training compute
RECIPE = DenoiserRecipe(training=TrainingSpec())  # dropouts and times that all three have
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Persons:
    """Unseen persons: samples and base vector of one recording each, and a request.

    ``again_vectors`` are of other recordings of some of them, ``again`` says of whom; these and
    ``untold_vectors`` of an extractor that is told nothing.
    """

    samples_mv: NDArray[np.float32]
    base_vectors: NDArray[np.float32]
    requested: list[CardiacCondition]
    untold_vectors: NDArray[np.float32]
    again_vectors: NDArray[np.float32]
    again: NDArray[np.int64]

    @property
    def requested_bpm(self) -> Floats:
        """The rates that are asked for."""
        return np.array([one.heart_rate_bpm for one in self.requested])


def main() -> None:
    """Measure the three twins on both corpora; print and write the result."""
    parser = argparse.ArgumentParser()
    for name in (*NAMES, "simulated", "ptbxl"):
        parser.add_argument(name)
    parser.add_argument("--persons", type=int, default=200)
    arguments = parser.parse_args()
    twins = {name: EcgTwin.load(getattr(arguments, name)) for name in NAMES}
    check(twins)
    read = {
        name: unseen_rows(twins["adax"], Corpus(getattr(arguments, name)))
        for name in ("simulated", "ptbxl")
    }
    result: dict[str, object] = {
        "checkpoint": twins["adax"].digest,
        "checkpoints": {name: twin.digest for name, twin in twins.items()},
        "training": {name: training(twins, rows) for name, rows in read.items()},
    }
    for corpus, rows in read.items():
        persons = persons_of(twins["adax"], rows, most=arguments.persons)
        result[corpus] = measure(twins, rows, persons)
    print(json.dumps(result, indent=1))
    print(write_result("pathways", result))


def check(twins: Mapping[str, EcgTwin]) -> None:
    """Raise SpecificationError unless pathways are as named, and all else is shared."""
    for name, twin in twins.items():
        adax = twin.spec.denoiser.adax
        if (adax.adaptive_norm, adax.cross_attention) != PATHWAYS[name]:
            raise SpecificationError(
                f"the twin given as {name} is of preset {twin.spec.preset!r}, which has other "
                "pathways"
            )
    if len({base_vectors_digest(twin) for twin in twins.values()}) > 1:
        raise SpecificationError(
            "the twins have different VAEs or base extractors; train all three denoisers with the "
            "same --start-from"
        )


def unseen_rows(twin: EcgTwin, corpus: Corpus) -> LatentRows:
    """Encode the recordings of the validation and test splits."""
    leads = twin.spec.vae.lead_order
    parts = [TrainingRows.read([corpus], split, leads) for split in UNSEEN]
    return LatentRows.of(TrainingRows.joined(parts), twin)


def persons_of(twin: EcgTwin, rows: LatentRows, *, most: int) -> Persons:
    """Return persons by their first recordings, with a rate to ask for."""
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(rows.rows.persons):
        rows_of.setdefault(person, []).append(row)
    own = list(rows_of.values())[:most]
    firsts = [some[0] for some in own]
    again = np.array([place for place, some in enumerate(own) if len(some) > 1], np.int64)
    rates = np.random.default_rng(0).permutation(np.linspace(*RATES_BPM, len(own))).round(1)
    seconds = [own[place][1] for place in again]
    samples_mv, again_mv = (
        twelve_leads(rows.rows.samples_BLT[some], twin.spec.vae.lead_order).astype(np.float32)
        for some in (firsts, seconds)
    )
    return Persons(
        samples_mv,
        rows.base_vectors_BW.cpu().numpy()[firsts],
        [
            request(rate, rows.rows.conditions[row])
            for rate, row in zip(rates.tolist(), firsts, strict=True)
        ],
        untold(twin, samples_mv),
        untold(twin, again_mv),
        again,
    )


def untold(twin: EcgTwin, samples_mv: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return base vectors of an extractor that is told nothing of the condition."""
    return vectors_of(twin, samples_mv, [CardiacCondition()] * len(samples_mv), is_told=False)


def request(rate_bpm: float, own: CardiacCondition) -> CardiacCondition:
    """Return the sinus rhythm of a rate, in a person's age and sex."""
    return CardiacCondition(
        statements=(sinus(rate_bpm),),
        heart_rate_bpm=rate_bpm,
        age_years=own.age_years,
        sex=own.sex,
    )


def sinus(rate_bpm: float) -> str:
    """Return the sinus rhythm of a rate."""
    if rate_bpm < 60:
        return "sinus bradycardia"
    return "sinus rhythm" if rate_bpm <= 100 else "sinus tachycardia"


def training(twins: Mapping[str, EcgTwin], rows: LatentRows) -> dict[str, object]:
    """Return what each training cost; raise SpecificationError where they are not equal.

    Reports are padded to the longest one of ``rows``, which cross-attention pays for.
    """
    found: dict[str, dict[str, float]] = {}
    for name, twin in twins.items():
        recipe, stages = twin.provenance["recipe"], twin.provenance["stages"]
        spec = recipe["denoiser"]["training"]
        steps = stages["denoiser"]["steps"]
        per_step = step_flops(twin, rows, batch_size=spec["batch_size"])
        found[name] = {
            "steps": steps,
            "selected_step": stages["denoiser"]["selected_step"],
            "batch_size": spec["batch_size"],
            "parameters": sum(item.numel() for item in twin.denoiser.parameters()),
            "gflop_per_step": per_step / 1e9,
            "total_pflop": steps * per_step / 1e15,
        }
    whole = found["adax"]["total_pflop"]
    for name, one in found.items():
        one["share_of_adax"] = one["total_pflop"] / whole
        if abs(one["share_of_adax"] - 1) > MOST_APART:
            raise SpecificationError(
                f"{name} was trained with {one['share_of_adax']:.1%} of the operations of adax; "
                f"at most {MOST_APART:.0%} apart is a comparison at equal compute"
            )
    return found


def step_flops(twin: EcgTwin, rows: LatentRows, *, batch_size: int) -> float:
    """Return the operations of one forward and backward pass; a multiply and an add are two."""
    objective = objective_of(twin)
    objective.network.requires_grad_(True)
    cost = cost_of(objective, batches_of(rows, batch_size)(0, slice(0, batch_size)))
    objective.network.requires_grad_(False)
    return batch_size * cost.flops(forwards=1)


def batches_of(rows: LatentRows, size: int) -> DenoiserBatches:
    """Return batches that are the same for all twins: with the dropouts of training."""
    return DenoiserBatches(rows, RECIPE, seed=1, total=size)


def objective_of(twin: EcgTwin) -> DenoiserObjective:
    """Return the objective that all were trained with."""
    return DenoiserObjective(twin.denoiser, RECIPE, process=twin.spec.process)


def measure(twins: Mapping[str, EcgTwin], rows: LatentRows, persons: Persons) -> dict[str, object]:
    """Return loss, rate and likeness of every twin, beside those of the persons' own recordings."""
    found: dict[str, object] = {
        "persons": len(persons.requested),
        "recordings": len(rows.rows),
        "splits": list(UNSEEN),
        "own_recordings": likeness(persons.again_vectors, persons.again, persons),
    }
    everybody = np.arange(len(persons.requested))
    reference_bpm = read_ecgs(
        persons.samples_mv, sampling_rate_hz=twins["adax"].sampling_rate_hz
    ).heart_rate_bpm
    for name, twin in twins.items():
        samples_mv = draw(twin, persons)
        measured_bpm = read_ecgs(samples_mv, sampling_rate_hz=twin.sampling_rate_hz).heart_rate_bpm
        fidelity = heart_rate_fidelity(persons.requested_bpm, measured_bpm, reference_bpm)
        found[name] = {
            "validation_loss": loss_of(twin, rows),
            "heart_rate": {**fidelity, "error_bpm": rate_error(persons, measured_bpm).figures()},
            "own_person": likeness(untold(twin, samples_mv), everybody, persons),
        }
        print(name, json.dumps(found[name]), flush=True)
    return found


@torch.no_grad()
def loss_of(twin: EcgTwin, rows: LatentRows) -> dict[str, float | None]:
    """Return the mean loss over fixed batches, with an interval over batches."""
    batch_at, objective = batches_of(rows, LOSS_BATCH), objective_of(twin)
    losses = [
        float(objective(on(twin, batch_at(step, slice(0, LOSS_BATCH))))["loss"])
        for step in range(LOSS_BATCHES)
    ]
    return mean_over_persons(np.array(losses), person_weights(LOSS_BATCHES)).figures()


def on(twin: EcgTwin, batch: Batch) -> Batch:
    """Return a batch where the networks are."""
    return {name: value.to(twin.device) for name, value in batch.items()}


def draw(twin: EcgTwin, persons: Persons) -> NDArray[np.float32]:
    """Return one ECG (person, 12, time) in mV of each person, as the twin's preset samples."""
    records = in_batches(
        len(persons.requested),
        lambda part: twin.generate_many(
            list(persons.base_vectors[part]),
            persons.requested[part],
            list(range(len(persons.requested)))[part],
        ),
    )
    return stacked(records)


def rate_error(persons: Persons, measured_bpm: Floats) -> Resampled:
    """Return the mean absolute error in bpm over the persons whose ECG has a rate."""
    known = np.isfinite(measured_bpm)
    error = np.abs(persons.requested_bpm - measured_bpm)[known]
    if not known.any():
        return Resampled(np.full(2, np.nan))
    return mean_over_persons(error, person_weights(len(error)))


def likeness(
    vectors: NDArray[np.float32], own: NDArray[np.int64], persons: Persons
) -> dict[str, object]:
    """Return how much nearer vectors are to ``own``, the person of each, than to the others."""
    if len(own) < 2 or len(persons.requested) < 2:
        return {"num_ecgs": len(own), "reason": "two persons are needed"}
    similarity = cosine_similarity(vectors, persons.untold_vectors)
    is_own = np.arange(similarity.shape[1]) == own[:, None]
    mine, others = similarity[is_own], similarity[~is_own].reshape(len(own), -1)
    weights = person_weights(len(own))
    return {
        "num_ecgs": len(own),
        "auroc": pooled_auroc(shares_above(mine, others), weights).figures(),
        "own_less_others": mean_over_persons(mine - others.mean(axis=1), weights).figures(),
        "mean_own": float(mine.mean()),
        "recall_at_1": float((mine > others.max(axis=1)).mean()),
    }


if __name__ == "__main__":
    main()
