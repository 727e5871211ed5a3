"""Does the base extractor find persons again, and does its condition pathway take the state away?

python -m benchmarks.base_extractor WITH WITHOUT SIMULATED PTBXL
    [--on-state TWIN] [--strangers CORPUS] [--draws 20]

WITH and WITHOUT are twins whose extractors were trained alike, but for the condition pathway, and
so was that of ``--on-state``, whose pathway never knew age and sex: the recipes
``extractor-condition``, ``extractor-no-condition`` and ``extractor-told-state``. All figures are of
persons of the validation and test splits.

Query and own recording are of different states (statements with their certainties), and of any
states in the second table, among 1,000 strangers; STRANGERS adds persons to the gallery where the
splits hold fewer, and must be of persons whom no training saw. The linear probe is trained on half
of the persons and asked of the other half.

The pathway brings the person's age and sex to an extractor, by which persons are found as well: of
the extractor WITH it, ``told_state`` is told statements and rate alone, ``not_told`` nothing, and
``age_and_sex`` is what age and sex find by themselves. ``latents`` stands for what the extractors
are given: mean and deviation of each latent channel over the frames.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.facts import write_result
from ecgtwin.errors import SpecificationError
from ecgtwin.evaluation.probe import Probe, probe
from ecgtwin.evaluation.retrieval import Recordings, retrieve
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.twin import EcgTwin

UNSEEN = ("validation", "test")
NUM_STRANGERS = 1000
BLOCK = 256
CONDITION_COLUMNS = ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")
WITH, WITHOUT = "with_condition", "without_condition"
ON_STATE = "trained_on_state"
TOLD_STATE, NOT_TOLD, LATENTS, AGE_AND_SEX = "told_state", "not_told", "latents", "age_and_sex"
SEX_PLACE = {"female": -1.0, "unknown": 0.0, "male": 1.0}
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Unseen:
    """Recordings of persons that no training saw; strangers stand behind them, for galleries."""

    samples_mv: Vectors
    conditions: list[CardiacCondition]
    persons: list[str]
    is_stranger: NDArray[np.bool_]

    @property
    def states(self) -> list[frozenset[tuple[str, str]]]:
        """The statements of each recording with their certainties."""
        return [
            frozenset((one.code, one.certainty) for one in condition.statements)
            for condition in self.conditions
        ]


def main() -> None:
    """Measure both extractors on both corpora; print and write the result."""
    parser = argparse.ArgumentParser()
    for name in ("with_condition", "without_condition", "simulated", "ptbxl"):
        parser.add_argument(name)
    parser.add_argument("--on-state")
    parser.add_argument("--strangers")
    parser.add_argument("--draws", type=int, default=20)
    arguments = parser.parse_args()
    twins = {
        WITH: EcgTwin.load(arguments.with_condition),
        WITHOUT: EcgTwin.load(arguments.without_condition),
    }
    if arguments.on_state is not None:
        twins[ON_STATE] = EcgTwin.load(arguments.on_state)
    check(twins)
    strangers = None if arguments.strangers is None else Corpus(arguments.strangers)
    result: dict[str, object] = {
        "checkpoint": twins[WITH].digest,
        "checkpoints": {name: twin.digest for name, twin in twins.items()},
        "training": {name: training_of(twin) for name, twin in twins.items()},
        "simulated": measure(
            twins, read(Corpus(arguments.simulated), strangers), num_draws=arguments.draws
        ),
        "ptbxl": measure(twins, read(Corpus(arguments.ptbxl), None), num_draws=arguments.draws),
    }
    print(json.dumps(result, indent=1))
    print(write_result("base-extractor", result))


def check(twins: Mapping[str, EcgTwin]) -> None:
    """Raise SpecificationError unless each extractor is told what its name says."""
    wanted = {WITH: (True, True), WITHOUT: (False, True), ON_STATE: (True, False)}
    for name, twin in twins.items():
        told = twin.spec.base_extractor
        if (told.condition_pathway, told.age_and_sex) != wanted[name]:
            raise SpecificationError(
                f"the twin given as {name} is of preset {twin.spec.preset!r}, whose extractor has "
                f"condition_pathway {told.condition_pathway} and age_and_sex {told.age_and_sex}"
            )


def training_of(twin: EcgTwin) -> dict[str, object]:
    """Return how the extractor was trained, as far as its checkpoint says."""
    recipe, stages = (twin.provenance.get(name, {}) for name in ("recipe", "stages"))
    return {
        "recipe": recipe.get("base_extractor") if isinstance(recipe, dict) else None,
        "pairs": recipe.get("pairs") if isinstance(recipe, dict) else None,
        "stage": stages.get("base_extractor") if isinstance(stages, dict) else None,
        "parameters": sum(item.numel() for item in twin.base_extractor.parameters()),
    }


def read(corpus: Corpus, strangers: Corpus | None) -> Unseen:
    """Read the unseen persons' recordings, and one of each stranger."""
    found = read_rows(corpus, np.flatnonzero(np.isin(corpus.column("split"), UNSEEN)))
    if strangers is None:
        return found
    _, firsts = np.unique(np.asarray(strangers.column("person_id")), return_index=True)
    others = read_rows(strangers, firsts)
    if set(found.persons) & set(others.persons):
        raise SpecificationError(f"persons of {strangers.url} are of {corpus.url} as well")
    return Unseen(
        np.concatenate([found.samples_mv, others.samples_mv]),
        found.conditions + others.conditions,
        found.persons + others.persons,
        np.concatenate([found.is_stranger, ~others.is_stranger]),
    )


def read_rows(corpus: Corpus, positions: NDArray[np.integer]) -> Unseen:
    """Read recordings by their positions."""
    columns = {name: corpus.column(name) for name in CONDITION_COLUMNS}
    persons = corpus.column("person_id")
    return Unseen(
        corpus.samples_mv(positions),
        [condition_from_columns(columns, position) for position in positions.tolist()],
        [str(persons[position]) for position in positions.tolist()],
        np.zeros(len(positions), dtype=bool),
    )


def measure(twins: Mapping[str, EcgTwin], unseen: Unseen, *, num_draws: int) -> dict[str, object]:
    """Return retrieval and leaks of each kind of vectors, and what a pathway changes."""
    samples_mv, conditions = unseen.samples_mv, unseen.conditions
    told = twins[WITH]
    vectors = {name: vectors_of(twin, samples_mv, conditions) for name, twin in twins.items()}
    vectors[TOLD_STATE] = vectors_of(told, samples_mv, [state_of(one) for one in conditions])
    vectors[NOT_TOLD] = vectors_of(told, samples_mv, conditions, is_told=False)
    vectors[LATENTS] = latent_moments(told, samples_mv)
    vectors[AGE_AND_SEX] = age_and_sex(conditions)
    return {
        "persons": len(set(np.asarray(unseen.persons)[~unseen.is_stranger])),
        "recordings": int((~unseen.is_stranger).sum()),
        "splits": list(UNSEEN),
        "different_states": retrievals(vectors, unseen, num_draws, different_states=True),
        "any_states": retrievals(vectors, unseen, num_draws, different_states=False),
        "leak": leaks(vectors, unseen),
    }


def retrievals(
    vectors: Mapping[str, Vectors], unseen: Unseen, num_draws: int, *, different_states: bool
) -> dict[str, object]:
    """Return the figures of each kind of vectors, and the pathway's difference."""
    recordings = Recordings(vectors[WITH], unseen.persons, unseen.states, unseen.is_stranger)
    found = {
        name: retrieve(
            replace(recordings, vectors=one),
            different_states=different_states,
            num_strangers=NUM_STRANGERS,
            num_draws=num_draws,
        )
        for name, one in vectors.items()
    }
    blind = found[WITHOUT].figures
    return {
        **{name: one.described() for name, one in found.items()},
        "less_without": {
            kind: {
                name: (figure - blind[name]).figures()
                for name, figure in found[kind].figures.items()
            }
            for kind in (WITH, ON_STATE)
            if kind in found
        },
    }


def leaks(vectors: Mapping[str, Vectors], unseen: Unseen) -> dict[str, object]:
    """Return what a linear probe reads off each kind of vectors, and the pathway's difference."""
    own = np.flatnonzero(~unseen.is_stranger)
    rates = np.array([unseen.conditions[row].heart_rate_bpm or np.nan for row in own])
    found = {
        name: probe(
            one[own], [unseen.persons[row] for row in own], statements_of(unseen, own), rates
        )
        for name, one in vectors.items()
    }
    return {
        **{name: one.described() for name, one in found.items()},
        "less_without": {
            kind: difference(found[kind], found[WITHOUT])
            for kind in (WITH, ON_STATE)
            if kind in found
        },
    }


def difference(told: Probe, blind: Probe) -> dict[str, object]:
    """Return how much more a probe reads off one extractor's vectors than off another's."""
    found: dict[str, object] = {
        "statements": {
            name: (figure - blind.statements[name]).figures()
            for name, figure in told.statements.items()
        }
    }
    for name in ("macro_auroc", "heart_rate_r2"):
        pair = getattr(told, name), getattr(blind, name)
        found[name] = None if None in pair else (pair[0] - pair[1]).figures()
    return found


def statements_of(unseen: Unseen, rows: NDArray[np.integer]) -> Sequence[frozenset[str]]:
    """Return what each recording is said to show; what is negated is not there."""
    return [
        frozenset(one.code for one in condition.statements if one.certainty != "negated")
        for condition in (unseen.conditions[row] for row in rows)
    ]


@torch.no_grad()
def vectors_of(
    twin: EcgTwin,
    samples_mv: Vectors,
    conditions: Sequence[CardiacCondition],
    *,
    is_told: bool = True,
) -> Vectors:
    """Return the base vector (recording, width) of each recording, told its condition or not."""
    parts = []
    for block in blocks(len(samples_mv)):
        latents = twin.latents(samples_mv[block])
        told = torch.full((len(latents),), is_told, device=twin.device)
        batch = twin.condition_batch(conditions[block])
        parts.append(twin.base_extractor(latents, batch, is_told_B=told).cpu().numpy())
    return np.concatenate(parts)


def state_of(condition: CardiacCondition) -> CardiacCondition:
    """Return a condition whose age and sex are unknown."""
    return condition.model_copy(update={"age_years": None, "sex": "unknown"})


def age_and_sex(conditions: Sequence[CardiacCondition]) -> Vectors:
    """Return (recording, 3) whose cosines fall with the difference in age, and where sex differs.

    An unknown age stands in the middle.
    """
    years = [60.0 if one.age_years is None else one.age_years for one in conditions]
    angles = np.pi * np.array(years) / 120
    places = [SEX_PLACE[one.sex] for one in conditions]
    return np.stack([np.cos(angles), np.sin(angles), places], axis=1).astype(np.float32)


def latent_moments(twin: EcgTwin, samples_mv: Vectors) -> Vectors:
    """Return mean and deviation of each latent channel (recording, 2 x channel)."""
    parts = []
    for block in blocks(len(samples_mv)):
        latents = twin.latents(samples_mv[block]).cpu().numpy()
        parts.append(np.concatenate([latents.mean(axis=2), latents.std(axis=2)], axis=1))
    return np.concatenate(parts)


def blocks(num: int) -> list[slice]:
    """Return slices of at most BLOCK rows that cover ``num``."""
    return [slice(start, start + BLOCK) for start in range(0, num, BLOCK)]


if __name__ == "__main__":
    main()
