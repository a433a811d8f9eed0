"""The rules of the flow check, one for each dimension of a label.

=====  ============  ==============================================================================
code   dimension     broken when
=====  ============  ==============================================================================
T202   place         the output stands where the data may not be
T203   purposes      the output serves a purpose that the data does not
T204   retention     the output keeps longer than the data may be kept
T205   regions       the output stands in a region where the data may not be
T206   linkability   the data is tied more closely to people than the output may hold
T207   categories    sensitive data that is not an aggregate, and that the output does not name
T208   bases         a purpose of the output does not accept a basis the data was gathered on
T209   place         people's data of the cloud or enclave would go to devices
T212   domain        the keys that a release may speak of are not public
T214   linkability   a metric without a mechanism is of data that is tied to people
=====  ============  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from tacit.declare import Label, Linkability, Place
from tacit.plan.taxonomy import sensitive, within
from tacit.values import show_duration


@dataclass(frozen=True, slots=True)
class Clearance:
    """The most that an output may hold. None is "any", as in labels.

    Attributes:
        purposes: what it serves → the lawful bases which that accepts.
        term: the argument by which `keep` was stated.
    """

    place: Place
    purposes: Mapping[str, frozenset[str]]
    regions: frozenset[str] | None
    keep: int | None
    linkability: Linkability
    sensitive: tuple[str, ...] = ()
    term: str = "keep"


@dataclass(frozen=True, slots=True)
class Rule:
    """One dimension of the check: its code, when a label breaks it, what to say and how to mend."""

    code: str
    broken: Callable[[Label, Clearance], bool]
    message: Callable[[Label, Clearance], str]
    fix: Callable[[Label, Clearance], str]


def listed(names: Collection[str]) -> str:
    """Names in order, or "none"."""
    return ", ".join(sorted(names)) or "none"


def written(names: Collection[str]) -> str:
    """Names as the value of an argument."""
    quoted = ", ".join(f'"{name}"' for name in sorted(names))
    return quoted if len(names) == 1 else f"[{quoted}]"


def _uncleared(label: Label, clearance: Clearance) -> list[str]:
    found = (c for c in label.categories if sensitive(c) and not within(c, clearance.sensitive))
    return sorted(found)


def _refusing(label: Label, clearance: Clearance) -> list[str]:
    return sorted(
        f"{purpose} does not accept {basis}"
        for purpose, accepted in clearance.purposes.items()
        for basis in label.bases - accepted
    )


def _place_fix(label: Label, c: Clearance) -> str:
    if label.releases:
        return f'write to="{c.place}" at {listed(label.releases)}'
    return f"let it pass through a Release, or put the sink on the {label.place}"


def _purposes_message(label: Label, c: Clearance) -> str:
    allowed = label.purposes or frozenset()
    extra = listed(set(c.purposes) - allowed)
    return f"data for {listed(allowed)} is used for {extra}"


def _purposes_fix(label: Label, c: Clearance) -> str:
    common = (label.purposes or frozenset()) & set(c.purposes)
    if common:
        return f"write purposes=[{listed(common)}], or state the other purpose at the source"
    if label.releases:
        return f"drop that purpose here, or state it at {listed(label.releases)}"
    if not label.purposes:
        return "do not mix data that has no purpose in common"
    return "drop that purpose here, or obtain the data for it and say so at its source"


def _retention_message(label: Label, c: Clearance) -> str:
    kept = f"for {show_duration(c.keep)}" if c.keep else "for ever"
    return f"data kept for {show_duration(label.retention)} at most would be kept {kept}"


def _regions_message(label: Label, c: Clearance) -> str:
    allowed = label.regions or frozenset()
    where = listed(c.regions - allowed) if c.regions else "any region"
    if not allowed:
        return f"data of regions with none in common would be kept in {where}"
    return f"data of region {listed(allowed)} would be kept in {where}"


def _regions_fix(label: Label, c: Clearance) -> str:
    if not label.regions:
        return "keep what comes from different regions apart: no region may hold both"
    return f"write region={written(label.regions)}"


DOWNLOAD = Rule(
    "T209",
    lambda label, c: (
        c.place is Place.DEVICE
        and label.place > Place.DEVICE
        and label.linkability > Linkability.AGGREGATE
    ),
    lambda label, c: f"{label.linkability} data of the {label.place} would go to every device",
    lambda label, c: "send an aggregate or public content to the devices instead",
)

DOMAIN = Rule(
    "T212",
    lambda label, c: label.linkability > Linkability.PUBLIC or label.place is Place.DEVICE,
    lambda label, c: (
        f"the keys that it may speak of are not public: {label.linkability}, {label.place}"
    ),
    lambda label, c: "release it over a Table of the cloud whose key is labelled PUBLIC",
)

AWAY = Rule(
    "T202",
    lambda label, c: label.place < c.place,
    lambda label, c: f"rows of the {label.place} would be measured in the {c.place}",
    lambda label, c: 'let devices report it: write mechanism="prio3", or measure a Release',
)

OPEN = Rule(
    "T214",
    lambda label, c: label.linkability > c.linkability,
    lambda label, c: f"{label.linkability} data, and no mechanism stands before the number",
    lambda label, c: 'write mechanism="central", epsilon=… and minimum=…, or measure a Release',
)

RULES = (
    Rule(
        "T202",
        lambda label, c: label.place < c.place,
        lambda label, c: f"data that may not leave the {label.place} reaches the {c.place}",
        _place_fix,
    ),
    Rule(
        "T203",
        lambda label, c: label.purposes is not None and not set(c.purposes) <= label.purposes,
        _purposes_message,
        _purposes_fix,
    ),
    Rule(
        "T204",
        lambda label, c: (
            label.retention is not None and (c.keep is None or c.keep > label.retention)
        ),
        _retention_message,
        lambda label, c: f'write {c.term}="{show_duration(label.retention)}" or less',
    ),
    Rule(
        "T205",
        lambda label, c: (
            label.regions is not None and (c.regions is None or not c.regions <= label.regions)
        ),
        _regions_message,
        _regions_fix,
    ),
    Rule(
        "T206",
        lambda label, c: label.linkability > c.linkability,
        lambda label, c: f"{label.linkability} data reaches what may hold {c.linkability} data",
        lambda label, c: "release an aggregate of it, or clear the sink for more linkable data",
    ),
    Rule(
        "T207",
        lambda label, c: label.linkability > Linkability.AGGREGATE and bool(_uncleared(label, c)),
        lambda label, c: f"sensitive data arrives uncleared: {listed(_uncleared(label, c))}",
        lambda label, c: (
            "leave that column out, or write"
            f" sensitive=[{', '.join(repr(name) for name in _uncleared(label, c))}]"
        ),
    ),
    Rule(
        "T208",
        lambda label, c: bool(_refusing(label, c)),
        lambda label, c: f"the lawful basis does not serve: {'; '.join(_refusing(label, c))}",
        lambda label, c: (
            "gather the data on a basis that the purpose accepts, or widen its `basis`"
        ),
    ),
    DOWNLOAD,
)
