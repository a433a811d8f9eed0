"""The expression subset: what it reads, prints, types and refuses."""

from __future__ import annotations

import time

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from examples import examples
from tacit.declare.expression import MAX_DEPTH, Node, parse, walk
from tacit.errors import DeclarationError
from tacit.values import Type

SCHEMA = {
    "price": Type.FLOAT,
    "quantity": Type.INT,
    "name": Type.TEXT,
    "ok": Type.BOOL,
    "at": Type.TIME,
    "items.genre": Type.TEXT,
    "odd name": Type.INT,
}


@pytest.mark.parametrize(
    ("sql", "canonical", "kind"),
    [
        ("price*quantity", "price * quantity", Type.FLOAT),
        ("1 + 2 * 3 -- a note", "1 + 2 * 3", Type.INT),
        ("(1 + 2) * /* why */ 3", "(1 + 2) * 3", Type.INT),
        ("1-(2-3)", "1 - (2 - 3)", Type.INT),
        ("quantity / 2", "quantity / 2", Type.FLOAT),
        ("at - 3600", "at - 3600", Type.INT),
        ("-quantity % 3", "-quantity % 3", Type.INT),
        ("- -5", "5", Type.INT),
        ("-9223372036854775808", "-9223372036854775808", Type.INT),
        ("1e3", "1000.0", Type.FLOAT),
        ("not ok and quantity<>2", "NOT ok AND quantity <> 2", Type.BOOL),
        ("quantity != 2 or ok", "quantity <> 2 OR ok", Type.BOOL),
        ("items.genre is not null", "items.genre IS NOT NULL", Type.BOOL),
        ("name not in ('a', 'it''s')", "name NOT IN ('a', 'it''s')", Type.BOOL),
        ("price between 1 and 2 and ok", "price BETWEEN 1 AND 2 AND ok", Type.BOOL),
        (
            "case name when 'a' then 1 else 2.5 end",
            "CASE WHEN name = 'a' THEN 1 ELSE 2.5 END",
            Type.FLOAT,
        ),
        ("case when ok then name end", "CASE WHEN ok THEN name END", Type.TEXT),
        ("coalesce(null, quantity, 0)", "COALESCE(NULL, quantity, 0)", Type.INT),
        ("nullif(name, '')", "NULLIF(name, '')", Type.TEXT),
        ("abs(price)", "ABS(price)", Type.FLOAT),
        ("length(name || 'x')", "LENGTH(name || 'x')", Type.INT),
        ("substr(name, 1, 2)", "SUBSTR(name, 1, 2)", Type.TEXT),
        ("starts_with(name, 'a')", "STARTS_WITH(name, 'a')", Type.BOOL),
        ("cast(quantity as double)", "CAST(quantity AS DOUBLE)", Type.FLOAT),
        ('"odd name" + 1', '"odd name" + 1', Type.INT),
        ("(ok = (name = 'a')) = TRUE", "(ok = (name = 'a')) = TRUE", Type.BOOL),
        ("at", "at", Type.TIME),
    ],
)
def test_reads_prints_and_types(sql: str, canonical: str, kind: Type) -> None:
    expression = parse(sql)
    assert expression.sql == canonical
    assert parse(canonical) == expression
    assert expression.infer(SCHEMA) is kind


def test_names_the_columns_it_reads() -> None:
    assert parse("price * items.price + price").columns == {"price", "items.price"}


@pytest.mark.parametrize(
    ("sql", "fragment", "fix"),
    [
        ("(select 1)", "select", "join"),
        ("sum(price)", "sum", "aggregate='sum'"),
        ("count(*)", "count", "aggregate"),
        ("upper(name)", "upper", "use"),
        ("*", "*", "name one column"),
        ("price; drop table x", ";", "one expression"),
        ("price > ?", "?", "parameter"),
        ("price > $1", "$", "parameter"),
        ("price > :x", ":", "parameter"),
        ("price over (order by at)", "over", "window"),
        ("name like 'a%'", "like", "STARTS_WITH"),
        ("cast(price as int)", "int", "CAST(int AS DOUBLE)"),
        ("price::int", ":", "CAST"),
        ("a = b = c", "=", "parentheses"),
        ("a is null is null", "is", "parentheses"),
        ("name in (name)", "name", "write numbers"),
        ("quantity in (1, null)", "NULL", "IS NULL"),
        ("substr(name, 0, 1)", "SUBSTR", "SUBSTR(t, 1, 3)"),
        ("substr(name, quantity, 1)", "SUBSTR", "SUBSTR(t, 1, 3)"),
        ("starts_with(name, name)", "name", "literal"),
        ("a.b.c", "a.b.c", "table.column"),
        ('"a.b"', "a.b", "dots"),
        ("9223372036854775808", "9223372036854775808", "float"),
        ("1e999", "1e999", "1.8e308"),
        ("1_000", "1", "docstring"),
        ("price +", "early", "finish"),
        ("", "early", "finish"),
        ("(price", "')'", "write )"),
        ("case when ok then 1", "END", "write END"),
        ("case end", "end", ""),
        ("'open", "'", "close the quote"),
        ("name = 'a\0b'", "character", "U+0000"),
        ("abs(1, 2)", "ABS", "docstring"),
        ("x'41'", "'41'", "docstring"),
        ("price quantity", "quantity", "docstring"),
        ("price[1]", "[", "docstring"),
        ("a == b", "=", "parentheses"),
    ],
)
def test_refuses_by_name_and_says_how_to_mend_it(sql: str, fragment: str, fix: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(sql, where="signals.py:7")
    assert caught.value.code == "T110"
    assert caught.value.where == "signals.py:7"
    assert fragment in caught.value.message.rsplit(" in ", 1)[0]
    assert fix in caught.value.fix


@pytest.mark.parametrize("sql", ["(" * 200 + "1" + ")" * 200, "1" + "+1" * 200, "not " * 99 + "ok"])
def test_depth_is_bounded(sql: str) -> None:
    with pytest.raises(DeclarationError, match="nesting"):
        parse(sql)


def test_inlining_may_not_exceed_the_depth_either() -> None:
    deep = parse("1" + "+a" * (MAX_DEPTH - 2))
    with pytest.raises(DeclarationError, match="nesting"):
        deep.substitute({"a": deep})


@pytest.mark.parametrize(
    "sql",
    [
        "name + 1",
        "name - 'a'",
        "-name",
        "abs(ok)",
        "price % 2",
        "cast(price as double)",
        "length(price)",
        "quantity || 'a'",
        "substr(quantity, 1, 1)",
        "starts_with(quantity, 'a')",
        "ok and quantity",
        "not price",
        "case when quantity then 1 end",
        "case when ok then 1 else 'a' end",
        "coalesce(name, 1)",
        "nullif(name, 1)",
        "nullif(name, null)",
        "name = 1",
        "name = null",
        "null + 1",
        "ok < true",
        "ok between true and true",
        "name in (1)",
        "null",
        "coalesce(null)",
    ],
)
def test_wrong_types_are_refused(sql: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(sql).infer(SCHEMA, where="a.py:1")
    assert caught.value.code == "T112"
    assert caught.value.where == "a.py:1"


def test_an_unknown_column_suggests_the_nearest() -> None:
    with pytest.raises(DeclarationError, match="quantty") as caught:
        parse("quantty + 1").infer(SCHEMA)
    assert caught.value.code == "T111"
    assert "'quantity'" in caught.value.fix


def test_substitute_inlines_derived_columns() -> None:
    inlined = parse("-revenue * 2").substitute({"revenue": parse("price + quantity")})
    assert inlined.sql == "-(price + quantity) * 2"
    assert inlined.columns == {"price", "quantity"}
    assert parse("-x").substitute({"x": parse("-5")}).sql == "5"
    same = parse("price")
    assert same.substitute({"name": parse("1")}) is same


names = st.sampled_from(["a", "b", "t.c", "order", "odd name", 'qu"ote'])
leaves = st.one_of(
    names.map(lambda name: Node("column", (), name)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: Node("int", (), v)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda v: Node("float", (), v + 0.0)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
        lambda v: Node("text", (), v)
    ),
    st.booleans().map(lambda v: Node("bool", (), v)),
    st.just(Node("null")),
)
binary = st.sampled_from(
    ["+", "-", "*", "/", "%", "||", "=", "<>", "<", "<=", ">", ">=", "and", "or"]
)


def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    literal = leaves.filter(lambda node: node.op not in ("column", "null"))
    return st.one_of(
        st.builds(lambda op, x, y: Node(op, (x, y)), binary, inner, inner),
        st.builds(
            lambda op, x: Node(op, (x,)),
            st.sampled_from(["not", "is null", "is not null", "abs", "length", "double"]),
            inner,
        ),
        inner.filter(lambda x: x.op not in ("int", "float")).map(lambda x: Node("neg", (x,))),
        st.builds(lambda x, y: Node("not in", (x, y)), inner, literal),
        st.builds(
            lambda op, x, y, z: Node(op, (x, y, z)),
            st.sampled_from(["between", "not between", "case", "coalesce"]),
            inner,
            inner,
            inner,
        ),
    )


trees = st.recursive(leaves, grow, max_leaves=12)


@given(trees)
@settings(max_examples=examples(300), deadline=None)
def test_text_and_tree_are_one_to_one(tree: Node) -> None:
    from tacit.declare.expression import show

    assert parse(show(tree)).tree == tree


@given(trees)
@settings(max_examples=examples(150), deadline=None)
def test_a_general_sql_parser_reads_the_text_alike(tree: Node) -> None:
    from tacit.declare.expression import show

    # Fully parenthesised and canonical text must mean the same to sqlglot: same operators, order.
    text = show(tree)
    theirs = sqlglot.parse_one(text, read="duckdb")
    expected = [n.value for n in walk(tree) if n.op == "column"]
    found = [
        ".".join(p.name for p in c.parts) for c in theirs.find_all(sqlglot.exp.Column, bfs=False)
    ]
    assert sorted(found) == sorted(expected)
    ours = sqlglot.parse_one(_parenthesised(tree), read="duckdb")
    assert _bare(theirs) == _bare(ours)


def _bare(tree: sqlglot.exp.Expression) -> str:
    for paren in list(tree.find_all(sqlglot.exp.Paren)):
        if paren is tree:
            return _bare(paren.this)
        paren.replace(paren.this)
    return repr(tree)


def _parenthesised(node: Node) -> str:
    from tacit.declare.expression import show

    kids = tuple(Node("raw", (), f"({_parenthesised(child)})") for child in node.args)
    if node.op in ("not in",):
        return f"({_parenthesised(node.args[0])}) NOT IN ({show(node.args[1])})"
    text = [kid.value for kid in kids]
    match node.op, text:
        case "neg", [x]:
            return f"-{x}"
        case "not", [x]:
            return f"NOT {x}"
        case (("is null" | "is not null"), [x]):
            return f"{x} {node.op.upper()}"
        case (("between" | "not between"), [x, y, z]):
            return f"{x} {node.op.upper()} {y} AND {z}"
        case "case", [x, y, z]:
            tail = "" if node.args[2].op == "null" else f" ELSE {z}"
            return f"CASE WHEN {x} THEN {y}{tail} END"
        case "double", [x]:
            return f"CAST({x} AS DOUBLE)"
        case (("abs" | "length" | "coalesce"), _):
            return f"{node.op}({', '.join(text)})"
        case _, [x, y]:
            return f"{x} {node.op} {y}"
    return show(node)


def test_ten_thousand_distinct_expressions_parse_and_type_in_seconds() -> None:
    """A second of processor time, on most machines; five on the slowest."""
    start = time.process_time()
    for number in range(10_000):
        parse(f"price * quantity > {number}.5 AND items.genre = 'g{number}'").infer(SCHEMA)
    assert time.process_time() - start < 5.0
