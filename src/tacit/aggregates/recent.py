"""What ages with the moment that asks: time since the last event, and sums that decay.

``finish`` tells the result as of the newest event; ``finish_at`` as of a later moment.
"""

from __future__ import annotations

from typing import ClassVar

from tacit.aggregates.state import Aggregate, Argument, Reader, Value, Writer
from tacit.aggregates.sums import Sum, Total
from tacit.errors import DeclarationError
from tacit.values import SCALARS, Type, duration, show_duration

_SUM = Sum()
_FAR = 128  # half-lives, after which a value counts nothing: a part in 10**38 of what it was


class Since(Aggregate[int | None]):
    """Microseconds since the last event; the state is that event's time."""

    key = "since"
    family = 11
    about = (
        "Microseconds since the last event; with `value`, since the last in which it is not null."
        " Null when there was none."
    )
    holds = "the last time"
    takes = "any value but a vector, or none for rows"
    inputs: ClassVar[tuple[Type | None, ...]] = (None, *SCALARS)

    def result(self, value: Type | None) -> Type:
        return Type.INT

    def init(self) -> int | None:
        return None

    def update(self, state: int | None, value: Value, at: int) -> int | None:
        return at if state is None else max(state, at)

    def merge(self, left: int | None, right: int | None) -> int | None:
        return left if right is None else self.update(right if left is None else left, True, right)

    def finish(self, state: int | None) -> Value | None:
        return None if state is None else 0

    def finish_at(self, state: int | None, at: int) -> Value | None:
        found = None if state is None else at - state
        return found if found is None or found < 2**63 else None

    def write(self, state: int | None, out: Writer) -> None:
        out.raw(b"\x00" if state is None else b"\x01")
        if state is not None:
            out.whole(state)

    def read(self, data: Reader) -> int | None:
        return None if data.raw(1) == b"\x00" else data.word()


def _half(text: str) -> int | None:
    try:
        return duration(text)
    except DeclarationError:
        return None


Ages = tuple[tuple[int, Total], ...]


class Decayed(Aggregate[Ages]):
    """The sum in which a value counts half after each half-life: Σ v · 2^(-(t - at) / half).

    Time is cut into half-lives since the epoch. Within one, a value is weighed by
    2^(rest / half - 1), once, as a double; the sums of each are exact, so merging is associative.
    Of what lies 128 half-lives or more before the newest, infinities alone are left, together: the
    state holds at most 129 sums, by half-life, newest first.
    """

    key = "decayed"
    family = 12
    takes = "ints or floats"
    inputs: ClassVar[tuple[Type | None, ...]] = (Type.INT, Type.FLOAT)
    argument = Argument("half", "str", _half, "30d")
    about = 'The sum in which a value counts half after each half-life, such as "7d".'
    holds = "a sum with all its bits for each half-life, 129 at most"
    exact = "each weight rounded once; what is 128 half-lives old counts nothing, unless infinite"

    def __init__(self, half: int) -> None:
        self.half = half
        self.key = f"decayed({show_duration(half)})"

    def result(self, value: Type | None) -> Type:
        return Type.FLOAT

    def init(self) -> Ages:
        return ()

    def update(self, state: Ages, value: Value, at: int) -> Ages:
        assert isinstance(value, int | float), "accepts() was asked before"
        age, rest = divmod(at, self.half)
        weighed = float(value) * 2.0 ** (rest / self.half - 1)  # at most the value: no overflow
        return self.merge(state, ((age, _SUM.update(Total(), weighed, at)),))

    def merge(self, left: Ages, right: Ages) -> Ages:
        sums = dict(left)
        for age, total in right:
            sums[age] = _SUM.merge(sums[age], total) if age in sums else total
        oldest = max(sums, default=0) - _FAR
        gone = [sums.pop(age) for age in list(sums) if age <= oldest]
        above, below = sum(t.above for t in gone), sum(t.below for t in gone)
        if above or below:
            sums[oldest] = Total(above + below, 0, 0, above, below, above + below)
        return tuple((age, sums[age]) for age in sorted(sums, reverse=True))

    def finish(self, state: Ages) -> Value | None:
        return self._at(state, state[0][0], 0) if state else None

    def finish_at(self, state: Ages, at: int) -> Value | None:
        return self._at(state, *divmod(at, self.half)) if state else None

    def _at(self, state: Ages, age: int, rest: int) -> float | None:
        whole = Total()
        for then, total in state:
            # 4096 binary places are past every double, up or down.
            shift = min(max(then + 1 - age, -4096), 4096) if total.mantissa else 0
            whole = _SUM.merge(whole, total._replace(exponent=total.exponent + shift))
        found = _SUM.finish(whole)
        assert found is None or isinstance(found, float), "sums of floats are floats"
        return None if found is None else found * 2.0 ** (-rest / self.half) + 0.0

    def write(self, state: Ages, out: Writer) -> None:
        out.whole(self.half)
        out.size(len(state))
        for age, total in state:
            out.whole(age)
            _SUM.write(total, out)

    def read(self, data: Reader) -> Ages:
        if data.whole() != self.half:
            data.wrong("decays with another half-life")
        size = data.size()
        if size > _FAR + 1:
            data.wrong("holds more half-lives than any state")
        ages = tuple((data.whole(), _SUM.read(data)) for _ in range(size))
        if any(not total.values for _, total in ages):
            data.wrong("holds a half-life without a value")
        if any(abs(age) > 2**63 // self.half + 1 + _FAR for age, _ in ages):
            data.wrong("holds a half-life beyond all moments")
        return self.merge((), ages)
