"""A commented cohort specification to start from."""

from pathlib import Path

import yaml

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.cohort import CohortSpec

TEMPLATE = """\
# A cohort: patients x conditions x replicates. Check it with `ecgtwin spec check`, see what it
# makes with `ecgtwin generate --dry-run`, make it with `ecgtwin generate`.
version: 1

checkpoint: {checkpoint}        # a folder, an s3:// URL, or the name of shipped weights
corpus: {corpus}          # where the reference ECGs are

# Whose twins: the first `count` patients of a split, or `ids: [...]` of the corpus.
patients:
  split: test
  count: 4

# In which states. Each entry: statements of a report, and a rate in bpm: one number, a list,
# or a range by count or step. age_years and sex: a value, `own` (the patient's) or unknown.
conditions:
  - statements: [sinus rhythm]
    heart_rate_bpm: {{start: 60, stop: 100, count: 5}}
  - statements: [atrial fibrillation]
    heart_rate_bpm: [80, 110]
  - statements: [sinus rhythm, left bundle branch block]
    heart_rate_bpm: 70
    age_years: own
    sex: own
  - statements:                       # how certain: definite (default), possible, negated
      - sinus tachycardia
      - {{code: ventricular premature complex, certainty: possible}}
    heart_rate_bpm: 110

# What must be true of a patient in a condition; the others are left out.
# constraints:
#   - condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years

replicates: 2                         # different noise, otherwise the same
seed: 0
share_noise: false                    # true: the same noise in every condition of a person

# How twins are drawn; without this, as the checkpoint says.
# sampling: {{sampler: euler, num_steps: 10, guidance_scale: 2.0}}

output:
  url: {url}                      # a folder or s3://bucket/path
  rows_per_shard: 16                  # rows that one worker writes as one object
  rows_per_chunk: 16                  # rows that a reader fetches at a time
  # sampling_rate_hz: 500             # resampled; without this as drawn; also: step_mv, codec

run:                                  # changes how, never what
  num_workers: 2
  max_tries: 3
"""


def write_template(path: Path, *, corpus: str, checkpoint: str, url: str) -> CohortSpec:
    """Write the template to a new file and return the specification it holds.

    Raises SpecificationError when the file exists: nothing is overwritten.
    """
    text = TEMPLATE.format(corpus=_word(corpus), checkpoint=_word(checkpoint), url=_word(url))
    spec = CohortSpec.parse(yaml.safe_load(text), origin=str(path))
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise SpecificationError(f"{path} exists; choose another name or delete it") from None
    except OSError as error:
        raise SpecificationError(
            f"{path}: cannot be written ({error.strerror}); its folder must be there"
        ) from None
    return spec


def _word(text: str) -> str:
    """Return ``text`` as YAML on one line, quoted where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, width=10_000).strip()[1:-1]
