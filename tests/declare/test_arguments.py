"""A slip in any argument of any declaration is told at its own line, never from deep inside."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tacit
from tacit.declare import (
    ANYWHERE,
    PUBLIC,
    Column,
    Declaration,
    Entity,
    Events,
    Metric,
    Model,
    Purpose,
    Release,
    Signal,
    Sink,
    Source,
    Table,
    collect,
    flag,
    integer,
    key,
    number,
    text,
    time,
)
from tacit.errors import DeclarationError, Refused, TacitError
from tacit.plan import compile_plan

KINDS = (Entity, Purpose, Table, Events, Signal, Release, Model, Metric, Sink)
WRONG = (30, -1, 2.5, True, b"x", ["a", 3], {"a": object()}, object(), {1: 2}, (None,), "", "\0", "no such", float("nan"))  # fmt: skip


def project() -> dict[str, Declaration]:
    who = Entity("Somebody.", person="pseudonymous")
    what = Entity("Something.")
    aim = Purpose("Why.", use="personalize.content", basis="consent", epsilon=8)
    table = Table("All.", of=what, place="cloud", category=PUBLIC, columns={"item": key(what)})
    events = Events(
        "What happened.",
        place="device",
        region="eu",
        keep="90d",
        basis="consent",
        purposes=[aim],
        category="user.behavior",
        columns={"who": key(who), "item": key(what), "n": integer(), "at": time()},
    )
    signal = events.sum("n", "7d", by="item")
    terms = {"purposes": [aim], "region": "eu", "keep": "30d"}
    release = Release(
        "x", signal=signal, over=table, mechanism="sum", to="cloud", epsilon=1, **terms
    )  # type: ignore[arg-type]
    model = Model("x", learner="item_item", release=release)
    metric = Metric("x", release=release, minimum=50)
    sink = Sink("x", signals=[signal], to="export", place="device", **terms)  # type: ignore[arg-type]
    return {"who": who, "what": what, "aim": aim, "table": table, "events": events, "signal": signal, "release": release, "model": model, "metric": metric, "sink": sink}  # fmt: skip


BASE = project()
ARGUMENTS = [
    (name, field.name)
    for name, declaration in BASE.items()
    for field in dataclasses.fields(declaration)
    if field.init
]


def remade(declaration: Declaration, **changes: object) -> Declaration:
    fields = {
        f.name: getattr(declaration, f.name) for f in dataclasses.fields(declaration) if f.init
    }
    return type(declaration)(**{**fields, **changes})


def test_the_project_plans() -> None:
    compile_plan(collect(BASE))


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_has_a_rule(kind: type[Declaration]) -> None:
    names = {field.name for field in dataclasses.fields(kind) if field.init}
    assert set(kind.takes) == names


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_wrong_value_is_refused_or_harmless(name: str, argument: str) -> None:
    """Nothing but Tacit's own errors comes of any value, at once or when the project is planned."""
    refused = 0
    for value in WRONG:
        try:
            compile_plan(collect({**BASE, name: remade(BASE[name], **{argument: value})}))
        except TacitError as error:
            refused += 1
            for each in error.errors if isinstance(error, Refused) else (error,):
                assert each.fix
                assert each.where
                assert each.where.rpartition(":")[0].endswith("test_arguments.py")
    assert refused >= 5


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("T116", lambda: Entity(5)),
        ("T116", lambda: Entity("x", name="a b")),
        ("T116", lambda: Entity("x", owner=3)),
        ("T105", lambda: Entity("x", person="known")),
        ("T116", lambda: Purpose("x", use=["analytics"])),
        ("T105", lambda: Purpose("x", use="analytics", basis="because")),
        ("T105", lambda: Purpose("x", use="analytics", basis=["consent", "because"])),
        ("T116", lambda: Purpose("x", use="analytics", epsilon="4")),
        ("T116", lambda: Purpose("x", use="analytics", epsilon=True)),
        ("T118", lambda: Purpose("x", use="analytics", epsilon=-1)),
        ("T116", lambda: Purpose("x", use="analytics", epsilon=10**400)),
        ("T118", lambda: Purpose("x", use="analytics", delta=5e-324)),
        ("T101", lambda: BASE["events"].count("9" * 5000 + "d")),
        ("T118", lambda: Purpose("x", use="analytics", delta=0.5)),
        ("T116", lambda: key("who")),
        ("T112", lambda: key(BASE["who"], type="float")),
        ("T116", lambda: text(3)),
        ("T116", lambda: number("")),
        ("T116", lambda: flag(["user"])),
        ("T116", lambda: text("user").narrow(purposes=BASE["aim"])),
        ("T116", lambda: text("user").narrow(region=5)),
        ("T101", lambda: text("user").narrow(keep="soon")),
        ("T116", lambda: Events("x", columns=["who"])),
        ("T116", lambda: Events("x", columns={"who": "text"})),
        ("T116", lambda: Events("x", columns={5: text()})),
        ("T116", lambda: Events("x", columns={"a.b": text()})),
        ("T116", lambda: Events("x", columns={"a\0": text()})),
        ("T102", lambda: Events("x", columns={"a": text(), "A": text()})),
        ("T102", lambda: Events("x", columns={"a": text()}, derived={"a": "1"})),
        ("T116", lambda: Events("x", columns={"a": text()}, derived={"b": 1})),
        ("T116", lambda: Events("x", columns={"a": text()}, derived=["b"])),
        ("T105", lambda: Events("x", columns={}, place="phone")),
        ("T105", lambda: Events("x", columns={}, basis="because")),
        ("T101", lambda: Events("x", columns={}, keep=30)),
        ("T116", lambda: Events("x", columns={}, region=["eu", 5])),
        ("T116", lambda: Events("x", columns={}, region=[])),
        ("T116", lambda: remade(BASE["model"], region=[])),
        ("T116", lambda: Events("x", columns={}, purposes=BASE["aim"])),
        ("T116", lambda: Events("x", columns={}, purposes="aim")),
        ("T116", lambda: Table("x", of="item", columns={})),
        ("T101", lambda: BASE["events"].count(30)),
        ("T101", lambda: BASE["events"].count("0d")),
        ("T116", lambda: BASE["events"].count("7d", where=True)),
        ("T116", lambda: BASE["events"].sum(1, "7d")),
        ("T116", lambda: BASE["events"].sum(["n"], "7d")),
        ("T116", lambda: BASE["events"].count("7d", by=BASE["what"])),
        ("T116", lambda: BASE["events"].count("7d", per="who")),
        ("T116", lambda: remade(BASE["release"], signal="signal")),
        ("T116", lambda: remade(BASE["release"], over=BASE["events"])),
        ("T105", lambda: remade(BASE["release"], to="device")),
        ("T116", lambda: remade(BASE["release"], epsilon="4")),
        ("T118", lambda: remade(BASE["release"], epsilon=0)),
        ("T116", lambda: remade(BASE["release"], options={"f": len})),
        ("T116", lambda: remade(BASE["release"], options={"x": float("inf")})),
        ("T116", lambda: remade(BASE["model"], release=BASE["signal"])),
        ("T101", lambda: remade(BASE["model"], expires="never")),
        ("T116", lambda: remade(BASE["metric"], minimum="50")),
        ("T118", lambda: remade(BASE["metric"], minimum=1)),
        ("T116", lambda: remade(BASE["sink"], signals=BASE["signal"])),
        ("T105", lambda: remade(BASE["sink"], to="table")),
        ("T105", lambda: remade(BASE["sink"], linkability="some")),
    ],
)
def test_slips(code: str, wrong: object) -> None:
    [source], line = inspect.getsourcelines(wrong)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError) as caught:
        wrong()  # type: ignore[operator]
    assert caught.value.code == code
    assert caught.value.fix
    if "remade(" not in source:  # which makes the declaration in a line of its own
        assert caught.value.where == f"{__file__}:{line}"


def test_narrowing_again_only_tightens() -> None:
    aim = BASE["aim"]
    assert isinstance(aim, Purpose)
    column: Column = text("user").narrow(purposes=[aim]).narrow(keep="3d").narrow(region=ANYWHERE)
    assert [terms.keep for terms in column.narrowed] == [None, "3d", None]
    assert column.narrowed[0].purposes == (aim,)


def test_lists_and_dicts_of_the_user_are_copied() -> None:
    listed, columns = [BASE["aim"]], {"who": key(BASE["who"], "user"), "at": time("user")}  # type: ignore[arg-type]
    events = Events("x", purposes=listed, columns=columns)  # type: ignore[arg-type]
    listed.append(BASE["aim"])
    columns["more"] = text("user")
    assert len(events.purposes or ()) == 1
    assert set(events.columns) == {"who", "at"}


def test_a_category_for_all_columns_and_the_only_time() -> None:
    events = BASE["events"]
    assert isinstance(events, Source)
    assert {column.category for column in events.columns.values()} == {"user.behavior"}
    assert events.time == "at"  # type: ignore[attr-defined]
    two = Events("x", columns={"a": time("user"), "b": time("user")})
    assert two.time == ""


def test_names() -> None:
    who, many = Entity("x"), [Entity("y"), Entity("z", name="third")]
    found = collect({"who": who, "again": who, "_hidden": Entity("h"), "many": many, "by": {"key": Entity("k")}, "n": 5})  # fmt: skip
    assert set(found.named) == {"who", "many_0", "third", "key"}
    with pytest.raises(Refused) as caught:
        collect({"a": Entity("x"), "b": Entity("y", name="a"), "A": Entity("z"), "d": {"x.y": Entity("k")}, "c0": Entity("w"), "Row": Entity("v")})  # fmt: skip
    assert caught.value.codes == ("T102", "T102", "T116", "T102", "T102")


def test_the_line_is_the_users_even_in_a_loop_or_a_function() -> None:
    def twice() -> list[Entity]:
        return [Entity(str(n)) for n in range(2)]

    line = inspect.currentframe().f_lineno - 2  # type: ignore[union-attr]
    assert {entity.where for entity in twice()} == {f"{__file__}:{line}"}


@given(st.text(max_size=12))
def test_any_text_as_a_duration(given: str) -> None:
    """It is one, of more than nothing, or it is refused as none."""
    code = None
    try:
        length = BASE["events"].count(given).length  # type: ignore[attr-defined]
    except DeclarationError as error:
        code, length = error.code, None
    assert code == "T101" if length is None else length > 0


def test_the_vocabulary_of_a_project() -> None:
    for name in (
        "Entity",
        "Events",
        "Table",
        "Purpose",
        "Release",
        "Model",
        "Metric",
        "Sink",
        "key",
    ):
        assert hasattr(tacit, name)
