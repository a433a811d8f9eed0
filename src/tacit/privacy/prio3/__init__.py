"""Prio3: verifiable, distributed sums (draft-irtf-cfrg-vdaf).

A client splits its measurement into shares, one an aggregator, with a proof that the shared
measurement is in range. Aggregators check the proof together without seeing the measurement, and
add up their shares; the collector adds the aggregators' sums. Privacy needs one honest aggregator,
correctness needs all of them. The sum itself is exact: differential privacy is another
mechanism's task.

::

    profile    the wire versions, 18 and 8, and all their differences
    field      the prime fields, on plain integers      ntt        polynomials over them
    xof        seeds into streams                       gadgets    what is not linear
    circuit    what a validity circuit is               circuits   the five that have code points
    flp        the proof system                         layout     message sizes and parts
    roles      who does what                            prio3      the protocol, report by report
    variants   the ready-made ones                      batch      the same, many reports at once

    limbs      compiled field elements                  keccak     compiled TurboSHAKE128
    query_kernels, prove_kernels   compiled proofs      tables     what they know of a circuit
    streams    the XOF in rows                          encode     measurements in rows

`batch` and what it stands on import numba; nothing else here does.
"""

from tacit.privacy.prio3.prio3 import Prio3
from tacit.privacy.prio3.variants import (
    count,
    histogram,
    multihot_count_vec,
    sum_,
    sum_vec,
    sum_vec_with_multiproof,
)

__all__ = [
    "Prio3",
    "count",
    "histogram",
    "multihot_count_vec",
    "sum_",
    "sum_vec",
    "sum_vec_with_multiproof",
]
