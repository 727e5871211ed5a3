"""Persons seen again as other persons: hearts turned in the chest, leads scaled.

Few persons have a rare state, and an extractor that has seen them a hundred times knows them by
heart. Both recordings of a pair are changed alike, so what a person keeps through a state is kept;
turning the dipole is the augmentation of Gopal et al. 2021 (3KG, arXiv 2106.04452, section 3.1),
there of each recording by itself.
Axes: B row, L lead, T sample, C channel, F frame.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import INDEPENDENT_LEADS
from ecgtwin.signals.vectorcardiogram import turned_leads
from ecgtwin.spec.recipe import VirtualPersonsSpec
from ecgtwin.training.rows import TrainingRows
from ecgtwin.twin.encoding import BLOCK_ROWS, latents_of
from ecgtwin.twin.twin import EcgTwin

_STREAM = 0x76697274  # "virt": keeps these draws apart from others of the same seed


@torch.no_grad()
def virtual_latents(
    rows: TrainingRows, twin: EcgTwin, spec: VirtualPersonsSpec, *, seed: int
) -> list[Tensor]:
    """Return the latents (B, C, F) of all rows once for each copy of the persons.

    A copy of a person follows from (seed, number of the copy, place of the person in the sorted
    names). Raises SpecificationError where the networks read other than the independent leads.
    """
    if tuple(twin.spec.vae.lead_order) != INDEPENDENT_LEADS:
        raise SpecificationError(
            "base_extractor.virtual_persons: hearts are turned in the eight independent leads, and "
            f"preset {twin.spec.preset!r} reads others; leave it out"
        )
    names, person_B = np.unique(np.array(rows.persons), return_inverse=True)
    copies = []
    for copy in range(spec.copies):
        generator = np.random.Generator(
            np.random.Philox(key=[seed, _STREAM], counter=[copy, 0, 0, 0])
        )
        mixing_PLL = mixing_matrices(generator, len(names), spec).astype(np.float32)
        blocks = []
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            mixed_BLT = mixing_PLL[person_B[block]] @ rows.samples_BLT[block]
            blocks.append(latents_of(twin, mixed_BLT))
        copies.append(torch.cat(blocks))
    return copies


def mixing_matrices(
    generator: np.random.Generator, num: int, spec: VirtualPersonsSpec
) -> NDArray[np.float64]:
    """Return (num, 8, 8): by what the leads of each person are multiplied."""
    turns = generator.normal(scale=np.deg2rad(spec.angle_deg) / np.sqrt(3), size=(num, 3))
    gains = np.exp(generator.normal(scale=spec.gain_sd, size=(num, len(INDEPENDENT_LEADS))))
    gains *= np.exp(generator.normal(scale=spec.gain_sd, size=(num, 1)))
    found: NDArray[np.float64] = gains[:, :, None] * turned_leads(turns)
    return found
