"""Labels form a join-semilattice, and a label only tightens on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from projects import planned

from tacit.declare import PUBLIC_LABEL, Basis, Label, Linkability, Place
from tacit.plan.rules import RULES, Clearance

WORDS = st.frozensets(st.sampled_from("abcd"))
LABELS = st.builds(
    Label,
    place=st.sampled_from(Place),
    subjects=WORDS,
    categories=st.frozensets(st.sampled_from(["user.behavior", "user.biometric", "user.name"])),
    purposes=st.none() | WORDS,
    bases=st.frozensets(st.sampled_from(Basis)),
    regions=st.none() | WORDS,
    retention=st.none() | st.integers(1, 9),
    linkability=st.sampled_from(Linkability),
    releases=WORDS,
)
CLEARANCES = st.builds(
    Clearance,
    place=st.sampled_from(Place),
    purposes=st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.sampled_from(Basis))),
    regions=st.none() | WORDS,
    keep=st.none() | st.integers(0, 9),
    linkability=st.sampled_from(Linkability),
    sensitive=st.sampled_from([(), ("user.biometric",)]),
)


@given(LABELS, LABELS, LABELS)
def test_join_is_associative(a: Label, b: Label, c: Label) -> None:
    assert a.join(b).join(c) == a.join(b.join(c))


@given(LABELS, LABELS)
def test_join_is_commutative(a: Label, b: Label) -> None:
    assert a.join(b) == b.join(a)


@given(LABELS, LABELS)
def test_join_is_idempotent_and_absorbs(a: Label, b: Label) -> None:
    assert a.join(a) == a
    assert a.join(b).join(a) == a.join(b)


@given(LABELS)
def test_public_is_the_least(a: Label) -> None:
    assert PUBLIC_LABEL.join(a) == a


@given(LABELS, LABELS, CLEARANCES)
def test_joining_never_mends_a_breach(a: Label, b: Label, clearance: Clearance) -> None:
    """But for T209, which is held against every input apart: on the device, all is of the device."""
    for rule in RULES:
        if rule.code != "T209" and rule.broken(a, clearance):
            assert rule.broken(a.join(b), clearance), rule.code


@given(LABELS, LABELS, CLEARANCES)
def test_the_verdict_on_a_join_is_that_on_its_parts(
    a: Label, b: Label, clearance: Clearance
) -> None:
    """The lattice is exact: per column or joined, the verdict is the same. Sensitive data counts
    when it is linkable, and joining may link it."""
    for rule in RULES:
        if rule.code not in ("T207", "T209") and rule.broken(a.join(b), clearance):
            assert rule.broken(a, clearance) or rule.broken(b, clearance), rule.code


@given(LABELS, CLEARANCES)
def test_every_breach_says_what_and_how(a: Label, clearance: Clearance) -> None:
    for rule in RULES:
        if rule.broken(a, clearance):
            assert rule.message(a, clearance)
            assert rule.fix(a, clearance)


def test_labels_only_tighten_but_for_releases() -> None:
    text = 'g = orders.sum("CASE WHEN gift THEN spend END", "30d", by="catalogue.genre")\nm = Model("x", learner="item_item", release=taste)'
    plan = planned(text)
    for edge in plan.edges:
        if plan.nodes[edge.target.node].kind != "release":
            target = plan.label(edge.target)
            assert target.join(plan.label(edge.source)) == target, edge
