"""What a local release decodes to, and the consistency step that may follow it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class LocalEstimate(NamedTuple):
    """Unbiased numbers of devices by code, and how sure they are.

    `estimates` (n,) may be negative and need not sum to `reports`; `stderr` (n,) is the standard
    error of each that the mechanism's randomness gives, from the variance formula with the estimate
    in the place of the truth. `nothing` estimates the devices that had nothing of the domain.
    """

    estimates: Floats
    stderr: Floats
    reports: int
    nothing: float


def consistent(found: LocalEstimate) -> LocalEstimate:
    """The same with no negative number, summing to `reports`: norm-sub.

    Wang, Lopuhaä-Zwakenberg, Li, Skoric, Li 2020, "Locally Differentially Private Frequency
    Estimation with Consistency" (NDSS), section 5: add one number to all, set the negative ones to
    0, such that the sum is right; this is the projection on the simplex. It is post-processing and
    costs no privacy. The result is biased (small counts are pushed to 0 together), so it is a step
    of its own and nothing here does it unasked; `stderr` stays that of the unbiased estimates.
    """
    whole = norm_sub(np.append(found.estimates, found.nothing), float(found.reports))
    return found._replace(estimates=whole[:-1], nothing=float(whole[-1]))


def norm_sub(values: Floats, total: float) -> Floats:
    """The point nearest to `values` (n,) whose parts are not negative and sum to `total` >= 0."""
    if total == 0:
        return np.zeros_like(values)
    falling = np.sort(values)[::-1]
    shifts = (np.cumsum(falling) - total) / np.arange(1, len(values) + 1)
    kept = int(np.flatnonzero(falling > shifts)[-1])
    nearest: Floats = np.maximum(values - shifts[kept], 0.0)
    return nearest
