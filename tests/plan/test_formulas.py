"""Formulas and vectors in the plan: their types, labels, lineage, places, and how they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from projects import line_of, planned, read

from tacit.declare import Linkability, Place
from tacit.errors import DeclarationError, Refused
from tacit.plan import compile_plan, document
from tacit.plan.explain import explain
from tacit.plan.graph import Port
from tacit.plan.lineage import origins

FORMULAS = """
looks_1d = visits.count("1d")
long = visits.sum("seconds", "7d", where="address <> 'home'")
rising = trend(looks_1d, looks)
daily = rate(looks, per="1d")
mixed = Formula("Both.", sql="CASE WHEN looks > 3 THEN rising ELSE daily END")
named = Formula("By other names.", sql="(a + b) / 2", inputs={"a": looks, "b": long})
"""


def refusal(text: str) -> DeclarationError:
    with pytest.raises(Refused) as refused:
        planned(text)
    [error] = refused.value.errors
    assert error.where == line_of(text, "# here")
    assert isinstance(error, DeclarationError)
    return error


def test_formulas_have_types_inputs_and_one_flat_expression() -> None:
    plan = planned(FORMULAS)
    assert {name: plan.nodes[name].inputs for name in ("rising", "mixed", "named")} == {
        "rising": ("looks", "looks_1d"),
        "mixed": ("daily", "looks", "rising"),
        "named": ("long", "looks"),
    }
    assert {n.columns[0].type for n in plan.of("formula")} == {"float"}
    flat = {formula.signal: formula for formula in plan.formulas}
    assert flat["rising"].sql == "looks_1d * 7.0 / looks"
    assert flat["daily"].sql == "looks / 7.0"
    assert dict(flat["mixed"].inputs) == {"looks": "int", "looks_1d": "int"}
    assert [n.engine for n in plan.of("formula")] == ["local"] * 4
    text = "\n".join(line.text for line in explain(plan, None))
    assert "looks_1d * 7.0 / looks   local" in text
    assert document(plan)["nodes"]["rising"]["spec"] == {"sql": "looks_1d * 7.0 / looks"}


def test_the_label_is_the_join_of_its_inputs() -> None:
    plan = planned(FORMULAS)
    joined = plan.nodes["looks"].label.join(plan.nodes["long"].label)
    assert plan.nodes["named"].label == joined
    assert "user.location.precise" in joined.categories  # by the filter of one input
    assert joined.linkability is Linkability.PSEUDONYMOUS
    assert joined.place is Place.CLOUD
    roles = {(e.source.node, e.role) for e in plan.edges if e.target == Port("mixed", "value")}
    assert roles == {("daily", "value"), ("rising", "value"), ("looks", "condition")}
    found = {str(reach.port) for reach in origins(plan, Port("named", "value"))}
    assert {"visits.seconds", "visits.address"} <= found


def test_a_formula_of_a_device_stays_there() -> None:
    text = 'again = Formula(sql="spend * 2")\n'
    plan = planned(text)
    assert (plan.nodes["again"].place, plan.nodes["again"].engine) == (Place.DEVICE, "sqlite")
    sink = "out = Sink(signals=[again], to='training', place='cloud', purposes=[discover], region='eu', keep='30d')"
    with pytest.raises(Refused) as refused:
        planned(text + sink)
    assert refused.value.codes == ("T202",)
    assert "formula again" in refused.value.errors[0].path


def test_a_formula_over_two_places_has_no_engine() -> None:
    text = 'both = Formula(sql="spend / looks")\n'
    with pytest.raises(Refused) as refused:
        planned(text)
    assert refused.value.codes == ("T401",)


def test_a_formula_stands_in_a_sink_with_signals() -> None:
    sink = "out = Sink(signals=[looks, daily, mixed], to='training', place='cloud', purposes=[discover], region='eu', keep='30d')"
    plan = planned(FORMULAS + sink)
    assert [c.type for c in plan.nodes["out"].columns] == ["int", "float", "float"]
    per_item = 'by_item = visits.count("7d", per=article)\nother = rate(by_item)\n'
    with pytest.raises(Refused) as refused:
        planned(
            FORMULAS + per_item + sink.replace("mixed]", "other]").replace("training", "export")
        )
    assert refused.value.codes == ("T114",)


def test_meaning_is_in_the_hash_and_names_of_inputs_are_not() -> None:
    one = planned(
        'spell = visits.count("1d")\nf = Formula(sql="a / b", inputs={"a": looks, "b": spell})'
    )
    two = planned('f = Formula(sql="looks / spell")\nspell = visits.count("1d")')
    three = planned('f = Formula(sql="spell / looks")\nspell = visits.count("1d")')
    assert one.nodes["f"].hash == two.nodes["f"].hash != three.nodes["f"].hash


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('f = Formula(sql="nothing + 1")  # here', "T122", "not declared"),
        ('f = Formula(sql="look + 1")  # here', "T122", "did you mean 'looks'"),
        ('f = Formula(sql="visits")  # here', "T122", "declared as events"),
        ('f = Formula(sql="1 + 1")  # here', "T122", "names no signal"),
        ('f = Formula(sql="units")  # here', "T122", "map<text, int>"),
        ('f = Formula(sql="looks +")  # here', "T110", "cannot be read"),
        ("f = Formula(sql=\"looks || 'x'\")  # here", "T112", "looks"),
        ('f = Formula(sql="f + 1")  # here', "T123", "f → f"),
        (
            'a = Formula(sql="b + 1")\nb = Formula(sql="a + looks")  # here',
            "T123",
            "a → b → a",
        ),
        (
            'items = visits.count(per=article)\nf = Formula(sql="items + looks")  # here',
            "T114",
            "different keys",
        ),
        ('f = Formula(sql="x", inputs={"x": visits.count("2d")})  # here', "T103", "does not name"),
    ],
)
def test_formulas_that_are_refused(text: str, code: str, says: str) -> None:
    error = refusal(text)
    assert error.code == code
    assert says in str(error)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("rate(visits.count())", "T121"),
        ('rate(visits.mean("seconds", "7d"))', "T121"),
        ('rate(visits.count("7d", by="item"))', "T121"),
        ("rate(7)", "T121"),
        ('rate(looks, per="soon")', "T101"),
        ('trend(looks, visits.count("1d"))', "T121"),
        ('trend(visits.sum("seconds", "1d"), looks)', "T121"),
        ('Formula(sql="a", inputs={"a": visits})', "T116"),
        ("Formula(sql=3)", "T116"),
    ],
)
def test_calls_that_are_refused_where_they_stand(call: str, code: str) -> None:
    with pytest.raises(DeclarationError) as error:
        read(f"f = {call}  # here")
    assert error.value.code == code
    assert error.value.where == line_of(f"f = {call}  # here", "# here")


def test_a_chain_of_formulas_does_not_grow_without_bound() -> None:
    text = "f0 = Formula(sql='looks + looks')\n" + "".join(
        f"f{n} = Formula(sql='f{n - 1} + f{n - 1}')\n" for n in range(1, 40)
    )
    with pytest.raises(Refused) as refused:
        planned(text)
    assert refused.value.codes == ("T110",)


VECTORS = """
films = Table(
    "Films.", of=article, place="cloud", category=PUBLIC,
    columns={"item": key(article), "embedding": vector(size=64)}, derived={"same": "embedding"},
)
views = Events(
    "What was seen.", place="cloud", region="eu", keep="90d", basis="consent", purposes=[discover],
    category="user.behavior.browsing_history",
    columns={"visitor": key(shopper, "user.unique_id.pseudonymous"), "item": key(article),
             "mood": vector(size=3), "at": time()},
)
"""


@pytest.mark.parametrize(
    ("signal", "aggregate", "kind"),
    [
        ('views.mean("films.embedding", "30d")', "vector_mean(64)", "vector(64)"),
        ('views.sum("films.same")', "vector_sum(64)", "vector(64)"),
        ('views.last("mood", by="item")', "vector_last(3)", "map<text, vector(3)>"),
    ],
)
def test_aggregates_over_vectors_know_their_size(signal: str, aggregate: str, kind: str) -> None:
    plan = planned(f"{VECTORS}taste_of = {signal}")
    assert plan.nodes["taste_of"].spec["aggregate"] == aggregate
    assert plan.nodes["taste_of"].columns[0].type == kind
    assert plan.nodes["views"].spec["columns"]["mood"]["size"] == 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('f = views.max("mood")  # here', "T113"),
        ('f = views.distinct("mood")  # here', "T113"),
        ('f = views.count(value="mood")  # here', "T113"),
        ('f = views.count(where="mood IS NULL")  # here', "T112"),
        ('f = views.count(by="mood")  # here', "T112"),
        ('f = views.mean("COALESCE(mood, mood)")  # here', "T112"),
        ('g = views.mean("mood")\nf = Formula(sql="g + 1")  # here', "T122"),
    ],
)
def test_what_no_vector_does(text: str, code: str) -> None:
    assert refusal(VECTORS + text).code == code


def test_devices_have_no_vectors() -> None:
    joined = 'f = orders.mean("films.embedding")  # here'
    with pytest.raises(Refused) as refused:
        planned(VECTORS + joined)
    assert [(e.code, e.where) for e in refused.value.errors] == [
        ("T401", line_of(VECTORS + joined, "# here"))
    ]
    with pytest.raises(Refused) as refused:
        planned(
            VECTORS.replace('"What was seen.", place="cloud"', '"What was seen.", place="device"')
        )
    assert refused.value.codes == ("T401",)


@pytest.mark.parametrize("size", [0, -1, 4097, 2.0, True, "3"])
def test_a_vector_has_a_size(size: Any) -> None:
    with pytest.raises(DeclarationError) as error:
        read(f"v = vector(size={size!r})")
    assert error.value.code == "T119"


def test_many_formulas_plan_in_time() -> None:
    import time

    many = 'many = {f"f{n}": Formula(sql=f"looks * {n} + looks_1d") for n in range(1_500)}\n'
    more = 'more = {f"g{n}": Formula(sql=f"f{n} / {n + 1}") for n in range(1_500)}\n'
    declarations = read(FORMULAS + many + more)
    started = time.process_time()
    plan = compile_plan(declarations)
    assert time.process_time() - started < 4.0
    assert len(list(explain(plan, None))) < 60
