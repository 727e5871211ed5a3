"""The heart as one dipole: how it shows in the eight independent leads."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

# Dower et al. 1980 (J Electrocardiol 13:91), (lead, axis): x to the left, y down, z backwards.
# The leads are in the order of INDEPENDENT_LEADS.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)


def turned_leads(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 8, 8): by what the leads of a heart are multiplied when its dipole is turned.

    ``turns`` (n, 3) are rotation vectors in radians. What of the leads no dipole explains stays as
    it is; a turn by 0 gives the identity.
    """
    matrices = Rotation.from_rotvec(turns).as_matrix()
    found: NDArray[np.float64] = np.eye(len(DOWER)) + DOWER @ (matrices - np.eye(3)) @ _INVERSE
    return found


_INVERSE = np.linalg.pinv(DOWER)
