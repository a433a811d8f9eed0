"""The flow check against a brute-force taint oracle, on random projects.

The oracle knows nothing of the plan. It reads the declarations, finds every way from a stored column
to an output by looking at names alone, and holds each column, one at a time, against each rule as
docs/errors.md words it. Where the compiler joins labels in a lattice, it enumerates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.declare import (
    PUBLIC,
    Column,
    Entity,
    Events,
    Model,
    Purpose,
    Release,
    Signal,
    Sink,
    Source,
    Table,
    collect,
    integer,
    key,
    text,
    time,
)
from tacit.errors import Refused, TacitError
from tacit.plan import compile_plan
from tacit.values import duration

PLACES = ("device", "enclave", "cloud")
LINKS = ("public", "aggregate", "pseudonymous", "identified")
CATEGORIES = (PUBLIC, "user.behavior", "user.health_and_medical", "user.demographic")
HIDE_SENSITIVE = {"user.health_and_medical", "user.demographic"}
KEEPS = ("30d", "90d", "ever")
REGIONS = ("eu", "us", ("eu", "us"), "anywhere")


@dataclass(frozen=True)
class Fact:
    """What one stored column, or one release's result, forbids."""

    place: str
    category: str
    link: str
    purposes: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    keep: int | None = None
    bases: frozenset[str] = frozenset()
    released: bool = False


def _regions(given: object) -> frozenset[str] | None:
    stated = {given} if isinstance(given, str) else set(given)  # type: ignore[call-overload]
    return None if "anywhere" in stated else frozenset(stated)


def _keep(given: str | None) -> int | None:
    return None if given in (None, "ever") else duration(str(given))


def facts_of_column(source: Source, name: str, names: dict[int, str]) -> list[Fact]:
    """The column's own facts: its source's terms, and each narrowing as one fact more."""
    column = source.columns[name]
    personal = any(c.category != PUBLIC for c in source.columns.values())
    people = [c.entity.person for c in source.columns.values() if c.entity and c.entity.person]
    if column.category == PUBLIC:
        link, bases = "public", frozenset()
        place = "device" if source.place == "device" else "cloud"
    else:
        link = "identified" if "identified" in people else "pseudonymous"
        bases, place = frozenset({str(source.basis)}), str(source.place)
    stated = column.category != PUBLIC or not personal
    first = Fact(
        place,
        str(column.category),
        link,
        frozenset(names[id(p)] for p in source.purposes or ())
        if stated and source.purposes
        else None,
        _regions(source.region) if stated and source.region else None,
        _keep(source.keep) if stated else None,
        bases,
    )
    facts = [first]
    for terms in column.narrowed:
        facts.append(
            Fact(
                place,
                str(column.category),
                link,
                None if terms.purposes is None else frozenset(names[id(p)] for p in terms.purposes),
                None if terms.region is None else _regions(terms.region),
                _keep(terms.keep),
            )
        )
    return facts


def columns_read(source: Source, sql: str, tables: dict[str, Table]) -> set[tuple[int, str]]:
    """Every stored column that a name in the SQL leads to, through derived columns and joins."""
    found: set[tuple[int, str]] = set()
    for word in re.findall(r"[a-z_0-9]+(?:\.[a-z_0-9]+)?", sql):
        owner: Source = source
        name = word
        if "." in word:
            table, _, name = word.partition(".")
            owner = tables[table]
            of = owner.of
            found |= {(id(source), n) for n, c in source.columns.items() if c.entity is of}
            found |= {(id(owner), n) for n, c in owner.columns.items() if c.entity is of}
        if name in owner.derived:
            found |= columns_read(owner, owner.derived[name], tables)
        elif name in owner.columns:
            found.add((id(owner), name))
    return found


def columns_of_signal(signal: Signal, tables: dict[str, Table]) -> set[tuple[int, str]]:
    source = signal.source
    found: set[tuple[int, str]] = set()
    for sql in (signal.value, signal.by, signal.filter):
        if sql is not None:
            found |= columns_read(source, sql, tables)
    people = {n for n, c in source.columns.items() if c.entity and c.entity.person}
    rows = people or {n for n, c in source.columns.items() if c.category != PUBLIC}
    mine = {n for n, c in source.columns.items() if c.entity in signal.per}
    return found | {(id(source), n) for n in rows | mine | {source.time}}


def breaches(fact: Fact, output: dict[str, object], accepted: dict[str, set[str]]) -> set[str]:
    """The codes of the rules that one fact breaks at one output."""
    found: set[str] = set()
    place, purposes = str(output["place"]), set(output["purposes"])  # type: ignore[call-overload]
    if PLACES.index(fact.place) < PLACES.index(place):
        found.add("T202")
    if fact.purposes is not None and not purposes <= fact.purposes:
        found.add("T203")
    keep = output["keep"]
    if fact.keep is not None and (keep is None or keep > fact.keep):  # type: ignore[operator]
        found.add("T204")
    regions = output["regions"]
    if fact.regions is not None and (regions is None or not regions <= fact.regions):  # type: ignore[operator]
        found.add("T205")
    if LINKS.index(fact.link) > LINKS.index(str(output["link"])):
        found.add("T206")
    people = LINKS.index(fact.link) > 1
    if people and fact.category in HIDE_SENSITIVE - set(output["sensitive"]):  # type: ignore[call-overload]
        found.add("T207")
    if any(basis not in accepted[purpose] for basis in fact.bases for purpose in purposes):
        found.add("T208")
    if place == "device" and fact.place != "device" and people:
        found.add("T209")
    return found


def oracle(namespace: dict[str, object]) -> set[str]:
    """Every code with which the project must be refused."""
    names = {id(value): name for name, value in namespace.items()}
    accepted = {n: set(p.bases) for n, p in namespace.items() if isinstance(p, Purpose)}
    sources = {id(s): s for s in namespace.values() if isinstance(s, Source)}
    tables = {n: t for n, t in namespace.items() if isinstance(t, Table)}
    signals = {id(s): s for s in namespace.values() if isinstance(s, Signal)}
    reads = {
        each: [
            f
            for s, c in columns_of_signal(signal, tables)
            for f in facts_of_column(sources[s], c, names)
        ]
        for each, signal in signals.items()
    }
    found: set[str] = set()
    for each in signals:
        if "device" in {fact.place for fact in reads[each]}:
            people = (f for f in reads[each] if LINKS.index(f.link) > 1)
            found |= {"T209" for fact in people if fact.place != "device"}
    results: dict[int, list[Fact]] = {}
    for value in namespace.values():
        if isinstance(value, Release):
            results[id(value)] = [release_result(value, reads[id(value.signal)], names)]
            found |= release_breaches(value, reads[id(value.signal)], accepted, names)
    for value in namespace.values():
        if isinstance(value, Sink):
            output = output_of(value, names) | {"place": value.place, "link": value.linkability}
            for signal in value.signals:
                for fact in reads[id(signal)]:
                    found |= breaches(fact, output, accepted)
        if isinstance(value, Model):
            found |= model_breaches(value, results[id(value.release)], accepted, names)
    return found


def output_of(value: Sink | Model | Release, names: dict[int, str]) -> dict[str, object]:
    sensitive = (
        (value.sensitive,)
        if isinstance(getattr(value, "sensitive", ()), str)
        else getattr(value, "sensitive", ())
    )
    return {
        "place": "cloud",
        "purposes": [names[id(p)] for p in value.purposes or ()],
        "keep": _keep(value.keep),
        "regions": _regions(value.region),
        "link": "aggregate",
        "sensitive": set(sensitive),
    }


def release_result(release: Release, read: list[Fact], names: dict[int, str]) -> Fact:
    """What it forbids is what it states; the bases of all that goes in stay, its domain's too."""
    output = output_of(release, names)
    listed = next(n for n, c in release.over.columns.items() if c.entity is release.over.of)
    read = read + facts_of_column(release.over, listed, names)
    return Fact(
        release.to,
        "user",
        "aggregate",
        frozenset(output["purposes"]),  # type: ignore[call-overload]
        output["regions"],  # type: ignore[arg-type]
        output["keep"],  # type: ignore[arg-type]
        frozenset(basis for fact in read for basis in fact.bases),
        released=True,
    )


def release_breaches(
    release: Release, read: list[Fact], accepted: dict[str, set[str]], names: dict[int, str]
) -> set[str]:
    """A release takes its data in where it is, and keeps none of it."""
    place = min((fact.place for fact in read), key=PLACES.index)
    output = output_of(release, names) | {"place": place, "keep": 0, "link": "identified"}
    found = {code for fact in read for code in breaches(fact, output, accepted)}
    listed = next(c for c in release.over.columns.values() if c.entity is release.over.of)
    if listed.category != PUBLIC or release.over.place == "device":
        found.add("T212")
    return found


def model_breaches(
    model: Model, read: list[Fact], accepted: dict[str, set[str]], names: dict[int, str]
) -> set[str]:
    output = output_of(model, names)
    found = {code for fact in read for code in breaches(fact, output, accepted)}
    bundle = output | {"place": "device", "keep": duration(model.expires)}
    own = Fact(
        "cloud",
        "user",
        "aggregate",
        frozenset(bundle["purposes"]),
        bundle["regions"],
        output["keep"],
    )  # type: ignore[arg-type,call-overload]
    return found | {code for fact in (*read, own) for code in breaches(fact, bundle, accepted)}


# ------------------------------------------------------------------------------ random projects


class Random(dict[str, object]):
    """A namespace that prints as a project, for a failure that one can read."""

    def __repr__(self) -> str:
        return "".join(f"\n  {name} = {self.tell(value)}" for name, value in self.items())

    def tell(self, value: object) -> str:
        names = {id(each): name for name, each in self.items()}
        fields = {f: getattr(value, f) for f in value.takes if f not in ("doc", "name", "owner")}  # type: ignore[attr-defined]
        plain = {
            f: self.name(given, names) for f, given in fields.items() if given not in (None, ())
        }
        return f"{type(value).__name__}({', '.join(f'{f}={given}' for f, given in plain.items())})"

    def name(self, given: object, names: dict[int, str]) -> str:
        if isinstance(given, tuple):
            return f"[{', '.join(self.name(each, names) for each in given)}]"
        if isinstance(given, Mapping):
            return f"{{{', '.join(f'{k}: {self.name(v, names)}' for k, v in given.items())}}}"
        if isinstance(given, Column):
            return f"{given.type}({given.category}, {list(given.narrowed) or ''})"
        return names.get(id(given), repr(given))


@st.composite
def projects(draw: st.DrawFn) -> Random:
    person = Entity("who", person=draw(st.sampled_from(("pseudonymous", "identified"))))
    thing = Entity("what")
    bases = st.sampled_from(("consent", "contract", ("consent", "contract")))
    purposes = [Purpose("p", use="analytics", basis=draw(bases), epsilon=1e6) for _ in range(2)]
    some = st.lists(st.sampled_from(purposes), min_size=1, max_size=2, unique=True)
    namespace: dict[str, object] = {
        "person": person,
        "thing": thing,
        "p0": purposes[0],
        "p1": purposes[1],
    }

    def column(make: object, *given: object) -> Column:
        made: Column = make(*given, draw(st.sampled_from(CATEGORIES)))  # type: ignore[operator]
        if draw(st.integers(0, 3)) == 0:
            made = made.narrow(
                purposes=draw(st.none() | some),
                region=draw(st.none() | st.sampled_from(REGIONS)),
                keep=draw(st.none() | st.sampled_from(KEEPS)),
            )
        return made

    def terms() -> dict[str, object]:
        return {
            "place": draw(st.sampled_from(("device", "cloud", "cloud"))),
            "purposes": draw(some),
            "basis": draw(st.sampled_from(("consent", "contract"))),
            "region": draw(st.sampled_from(REGIONS)),
            "keep": draw(st.sampled_from(KEEPS)),
        }

    things = {"item": column(key, thing), "kind": column(text), "size": column(integer)}
    content = Table("c", of=thing, columns=things, derived={"big": "size > 3"}, **terms())  # type: ignore[arg-type]
    columns = {
        "item": column(key, thing),
        "n": column(integer),
        "m": column(integer),
        "at": column(time),
    }
    if draw(st.booleans()):
        columns["who"] = key(person, draw(st.sampled_from(CATEGORIES[1:])))
    events = Events(
        "e",
        columns=columns,
        derived={"nm": "n * m", "odd": "CASE WHEN m > 2 THEN n END"},
        **terms(),
    )  # type: ignore[arg-type]
    namespace |= {"content": content, "events": events}
    values = ("n", "nm", "odd", "n + content.size", "CASE WHEN content.big THEN 1 ELSE 0 END")
    filters = (None, "m > 1", "content.kind = 'a'", "odd IS NULL", "content.big")
    made = []
    for index in range(draw(st.integers(1, 3))):
        per = draw(st.sampled_from((thing, person))) if "who" in columns else thing
        signal = events.sum(
            draw(st.sampled_from(values)),
            draw(st.sampled_from((None, "7d"))),
            by=draw(st.sampled_from((None, "item", "content.kind"))),
            where=draw(st.sampled_from(filters)),
            per=per,
        )
        namespace[f"s{index}"] = signal
        made.append(signal)
    sensitive = st.sampled_from(((), ("user.health_and_medical",), tuple(sorted(HIDE_SENSITIVE))))
    for index in range(draw(st.integers(0, 2))):
        namespace[f"sink{index}"] = Sink(
            "k",
            signals=[draw(st.sampled_from(made))],
            to="training",
            place=draw(st.sampled_from(("device", "cloud"))),
            purposes=draw(some),
            region=draw(st.sampled_from(REGIONS)),
            keep=draw(st.sampled_from(("7d", *KEEPS))),
            linkability=draw(st.sampled_from(LINKS)),  # type: ignore[arg-type]
            sensitive=draw(sensitive),
        )
    if draw(st.booleans()):
        counted = events.count(by="item", where=draw(st.sampled_from(filters)), per=thing)
        release = Release(
            "r",
            signal=counted,
            over=content,
            mechanism="sum",
            to="cloud",
            purposes=draw(some),
            epsilon=1,
            keep=draw(st.sampled_from(KEEPS)),
            region=draw(st.sampled_from(REGIONS)),
            sensitive=draw(sensitive),
        )
        model = Model(
            "m",
            learner="item_item",
            release=release,
            purposes=draw(some),
            keep=draw(st.sampled_from(KEEPS)),
            region=draw(st.sampled_from(REGIONS)),
            expires=draw(st.sampled_from(("7d", "60d"))),
        )
        namespace |= {"counted": counted, "release": release, "model": model}
    return namespace


@settings(max_examples=examples(250))
@given(projects())
def test_the_flow_check_is_the_oracle(namespace: Random) -> None:
    expected = oracle(namespace)
    try:
        compile_plan(collect(namespace))
        codes: set[str] = set()
    except Refused as refused:
        codes = set(refused.codes)
    except TacitError as error:
        raise AssertionError(f"an error outside the flow check: {error}") from error
    assert codes == expected
