"""The circuits' encodings as rows of bits, by array operations where numbers allow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tacit.privacy.prio3.circuit import Circuit, M, R, bit_weights, encode_bits, whole
from tacit.privacy.prio3.circuits import Histogram, MultihotCountVec, SumVec


def encode_rows(circuit: Circuit[M, R], measurements: Sequence[M]) -> npt.NDArray[np.uint8]:
    """`encode` of each measurement, whose elements are all bits; shape (n, meas_len).

    Raises PrivacyError T551 if any is out of range.
    """
    rows = np.zeros((len(measurements), circuit.meas_len), np.uint8)
    for row, measurement in zip(rows, measurements, strict=True):
        if isinstance(circuit, Histogram):
            row[whole(measurement, circuit.length - 1)] = 1
        elif isinstance(circuit, SumVec | MultihotCountVec):
            row[:] = _vector_bits(circuit, measurement)
        else:
            row[:] = circuit.encode(measurement)
    return rows


def _vector_bits(circuit: SumVec | MultihotCountVec, measurement: Any) -> npt.ArrayLike:
    """The bits of a vector. What is not a vector of small integers in range goes the plain way."""
    top = circuit.max_measurement if isinstance(circuit, SumVec) else 1
    numbers = _small_integers(measurement)
    if numbers is None or numbers.shape != (circuit.length,) or top >= 1 << 62:
        return circuit.encode(measurement)
    if (numbers < 0).any() or (numbers > top).any():
        return circuit.encode(measurement)
    if isinstance(circuit, SumVec):
        return _bit_matrix(numbers.astype(np.int64), top).ravel()
    weight = int(numbers.sum())
    if weight > circuit.max_weight:
        return circuit.encode(measurement)
    tail = encode_bits(weight + circuit.offset, circuit.greatest)
    return np.concatenate([numbers, np.array(tail, numbers.dtype)])


def _small_integers(measurement: Any) -> npt.NDArray[Any] | None:
    """The numbers as an array if they are integers of a machine's size."""
    if not isinstance(measurement, Sequence | np.ndarray) or isinstance(measurement, str | bytes):
        return None
    try:
        numbers = np.asarray(measurement)
    except (ValueError, OverflowError):  # ragged, or past 64 bits
        return None
    return numbers if numbers.dtype.kind in "biu" else None


def _bit_matrix(values: npt.NDArray[np.int64], greatest: int) -> npt.NDArray[np.int64]:
    """`encode_bits` of each value below 2^62; shape (n, bits)."""
    weights = bit_weights(greatest)
    last = len(weights) - 1
    top = (values >= 1 << last).astype(np.int64)
    rest = values - top * weights[-1]
    return np.column_stack([(rest[:, None] >> np.arange(last)) & 1, top])
