"""Metrics in the plan: what is refused and with which mend, labels, lineage, the bill, hashes."""

from __future__ import annotations

import pytest
from projects import line_of, planned

from tacit.declare import Linkability, Place
from tacit.errors import Refused
from tacit.plan import Port, difference, document
from tacit.plan.bill import composed, price
from tacit.plan.explain import describe, explain
from tacit.plan.lineage import origins, reached

TERMS = 'purposes=[discover], region="eu", keep="30d"'
CENTRAL = f'mechanism="central", epsilon=0.5, minimum=20, {TERMS}'
LOOKS = "Measure.count(visits, max_rows=5)"
SEEN = f"seen = Metric('Looks.', measure={LOOKS}, {CENTRAL})\n"
WHO = f"who = Metric('People.', measure=Measure.persons(visits), {CENTRAL})\n"
PAYS = "pays = Events('x', place='cloud', region='eu', keep='90d', basis='consent', purposes=[discover], category='user.behavior', columns={'who': key(shopper, 'user.unique_id.pseudonymous'), 'item': key(article), 'price': number(), 'at': time()})\n"
FOLK = "folk = Table('x', of=shopper, place='cloud', region='eu', keep='90d', basis='consent', purposes=[discover], category='user.behavior', columns={'who': key(shopper, 'user.unique_id.pseudonymous'), 'age': integer()})\n"

REFUSED = {
    "no mechanism": ("T214", f"m = Metric(measure=Measure.count(visits), {TERMS})  # wrong"),
    "no mechanism, by a filter alone": ("T214", f"t = Events('x', place='cloud', category=PUBLIC, region='eu', keep='90d', basis='consent', purposes=[discover], columns={{'item': key(article), 'secret': flag('user.behavior'), 'at': time()}})\nm = Metric(measure=Measure.count(t, where='secret'), {TERMS})  # wrong"),
    "no mechanism, by a dimension alone": ("T214", f"t = Events('x', place='cloud', category=PUBLIC, region='eu', keep='90d', basis='consent', purposes=[discover], columns={{'item': key(article), 'secret': flag('user.behavior'), 'at': time()}})\nm = Metric(measure=Measure.count(t), dimensions=['secret'], {TERMS})  # wrong"),
    "a conversion without a mechanism": ("T214", f"m = ConversionMetric(base=Measure.persons(visits), then=Measure.persons(visits), within='1d', {TERMS})  # wrong"),
    "people's table without a mechanism": ("T214", FOLK + f"m = Metric(measure=Measure.count(folk), {TERMS})  # wrong"),
    "people's table": ("T215", FOLK + f"m = Metric(measure=Measure.count(folk, max_rows=1), {CENTRAL})  # wrong"),
    "content about people": ("T215", f"t = Table('x', of=article, place='cloud', region='eu', keep='90d', basis='consent', purposes=[discover], columns={{'item': key(article, PUBLIC), 'seller': text('user.name')}})\nm = Metric(measure={LOOKS}, dimensions=['t.seller'], {CENTRAL})  # wrong"),
    "people where there are none": ("T215", f"m = Metric(measure=Measure.persons(catalogue), {TERMS})  # wrong"),
    "rows on the device": ("T202", f"m = Metric(measure=Measure.count(orders, max_rows=5), {CENTRAL})  # wrong"),
    "another purpose": ("T203", f"m = Metric(measure={LOOKS}, {CENTRAL.replace('[discover]', '[advertise]')})  # wrong"),
    "no purpose": ("T203", f"m = Metric(measure={LOOKS}, {CENTRAL.replace('[discover]', '[]')})  # wrong"),
    "read abroad": ("T205", SEEN + "m = DerivedMetric(sql='seen * 2', region='cn')  # wrong"),
    "kept longer than its parts": ("T204", SEEN + "m = DerivedMetric(sql='seen * 2', keep='31d')  # wrong"),
    "sensitive, uncleared": ("T207", f"m = Metric(measure=Measure.count(visits, where=\"address = 'x'\", max_rows=5), {CENTRAL})  # wrong"),
    "does not say its region": ("T201", f"m = Metric(measure={LOOKS}, mechanism='central', epsilon=0.5, minimum=20, purposes=[discover], keep='30d')  # wrong"),
    "over the budget": ("T211", f"m = Metric(measure={LOOKS}, answers=500, {CENTRAL})  # wrong"),
    "neither": ("T124", f"m = Metric(minimum=20, {TERMS})  # wrong"),
    "both": ("T124", f"m = Metric(measure={LOOKS}, release=taste, minimum=20)  # wrong"),
    "a release with a budget of its own": ("T124", "m = Metric(release=taste, minimum=20, mechanism='central', epsilon=1)  # wrong"),
    "by people": ("T125", f"m = Metric(measure={LOOKS}, dimensions=['visitor'], {CENTRAL})  # wrong"),
    "by people within an expression": ("T125", f"m = Metric(measure={LOOKS}, dimensions={{'x': \"visitor || 'x'\"}}, {CENTRAL})  # wrong"),
    "by moments": ("T125", f"m = Metric(measure={LOOKS}, dimensions=['at'], {CENTRAL})  # wrong"),
    "by floats": ("T125", f"m = Metric(measure={LOOKS}, dimensions=['catalogue.weight'], {CENTRAL})  # wrong"),
    "a histogram of people": ("T125", f"m = Metric(measure=Measure.histogram(visits, 'visitor', max_rows=1), {CENTRAL})  # wrong"),
    "a fan-out": ("T126", PAYS + f"m = Metric(measure=Measure.count(visits, max_rows=5, where='pays.price > 1'), {CENTRAL})  # wrong"),
    "a fan-out by a dimension": ("T126", PAYS + f"m = Metric(measure={LOOKS}, dimensions=['pays.item'], {CENTRAL})  # wrong"),
    "a table that shares no key": ("T115", f"m = Metric(measure={LOOKS}, dimensions=['stores.city'], {CENTRAL})  # wrong"),
    "an unknown column": ("T111", f"m = Metric(measure={LOOKS}, dimensions=['sekonds'], {CENTRAL})  # wrong"),
    "a sum without bounds": ("T127", f"m = Metric(measure=Measure.sum(visits, 'seconds', max_rows=5), {CENTRAL})  # wrong"),
    "a count without a bound": ("T127", f"m = Metric(measure=Measure.count(visits), {CENTRAL})  # wrong"),
    "bounds the wrong way round": ("T127", f"m = Metric(measure=Measure.sum(visits, 'seconds', low=5, high=1, step=1), {CENTRAL})  # wrong"),
    "no groups": ("T127", f"m = Metric(measure={LOOKS}, max_groups=0, {CENTRAL})  # wrong"),
    "a sum of text": ("T113", f"m = Metric(measure=Measure.sum(visits, 'item', low=0, high=1, step=1, max_rows=5), {CENTRAL})  # wrong"),
    "a filter that is none": ("T112", f"m = Metric(measure=Measure.count(visits, where='seconds', max_rows=5), {CENTRAL})  # wrong"),
    "people of devices, added up": ("T130", f"who = Metric(measure=Measure.persons(orders), mechanism='prio3', epsilon=0.5, minimum=20, {TERMS})\nm = CumulativeMetric(metric=who)  # wrong"),
    "no such metric": ("T128", SEEN + "m = DerivedMetric(sql='sean * 2')  # wrong"),
    "no metric but a signal": ("T128", SEEN + "m = DerivedMetric(sql='looks * 2')  # wrong"),
    "no metric at all": ("T128", "m = DerivedMetric(sql='1 + 1')  # wrong"),
    "a ratio of many numbers": ("T128", SEEN + f"h = Metric(measure=Measure.histogram(visits, 'item', max_rows=5), {CENTRAL})\nm = RatioMetric(numerator=h, denominator=seen)  # wrong"),
    "a truth": ("T112", SEEN + "m = DerivedMetric(sql='seen > 2')  # wrong"),
    "itself": ("T129", "m = DerivedMetric(sql='m * 2')  # wrong"),
    "a mean to date": ("T130", f"a = Metric(measure=Measure.mean(visits, 'seconds', low=0, high=60, step=1, max_rows=5), {CENTRAL})\nm = CumulativeMetric(metric=a)  # wrong"),
    "people over a window": ("T130", WHO + "m = CumulativeMetric(metric=who, window='7d')  # wrong"),
    "content to date": ("T130", f"a = Metric(measure=Measure.count(catalogue), {TERMS})\nm = CumulativeMetric(metric=a)  # wrong"),
    "a conversion of rows": ("T131", f"m = ConversionMetric(base={LOOKS}, then={LOOKS}, within='1d', {CENTRAL})  # wrong"),
    "a conversion of other people": ("T131", f"t = Events('x', place='cloud', region='eu', keep='90d', basis='consent', purposes=[discover], category='user.behavior', columns={{'who': key(member, 'user.name'), 'at': time()}})\nm = ConversionMetric(base=Measure.persons(visits), then=Measure.persons(t), within='1d', {CENTRAL})  # wrong"),
    "a grain that is none": ("T132", f"m = Metric(measure={LOOKS}, grains=['2d'], {CENTRAL})  # wrong"),
    "no loss": ("T133", f"m = Metric(measure={LOOKS}, mechanism='central', minimum=20, {TERMS})  # wrong"),
    "no cohort": ("T133", f"m = Metric(measure={LOOKS}, mechanism='central', epsilon=1, {TERMS})  # wrong"),
    "a cohort of one": ("T118", f"m = Metric(measure={LOOKS}, {CENTRAL.replace('20', '1')})  # wrong"),
    "reports of the cloud": ("T134", f"m = Metric(measure={LOOKS}, {CENTRAL.replace('central', 'prio3')})  # wrong"),
    "reports of a mean": ("T134", f"m = Metric(measure=Measure.mean(orders, 'price', low=0, high=9, step=1, max_rows=1), {CENTRAL.replace('central', 'prio3')})  # wrong"),
    "reports by dimensions": ("T134", f"m = Metric(measure=Measure.persons(orders), dimensions=['gift'], {CENTRAL.replace('central', 'prio3')})  # wrong"),
    "reports of what is not public": ("T134", f"m = Metric(measure=Measure.histogram(orders, 'city', max_rows=1), sensitive=['user.location.precise'], {CENTRAL.replace('central', 'prio3')})  # wrong"),
    "a conversion by reports": ("T134", f"m = ConversionMetric(base=Measure.persons(orders), then=Measure.persons(orders), within='1d', {CENTRAL.replace('central', 'prio3')})  # wrong"),
    "nothing in common": ("T203", SEEN + f"r = Metric(measure=Measure.persons(visits), {CENTRAL.replace('discover', 'research')})\nm = RatioMetric(numerator=seen, denominator=r)  # wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, text = REFUSED[name]
    with pytest.raises(Exception) as caught:
        planned(text)
    errors = caught.value.errors if isinstance(caught.value, Refused) else [caught.value]
    assert code in [error.code for error in errors]
    error = next(error for error in errors if error.code == code)
    assert error.where is not None
    assert error.where.endswith(line_of(text, "# wrong"))
    assert len(error.fix) > 5


@pytest.mark.parametrize(
    "name", [name for name, (code, _) in REFUSED.items() if code == "T214"][:3]
)
def test_the_way_to_a_metric_without_a_mechanism_is_told(name: str) -> None:
    with pytest.raises(Refused) as caught:
        planned(REFUSED[name][1])
    [error] = caught.value.errors
    assert error.path[-1] == "metric m"
    assert "user" in error.path[0]
    assert 'mechanism="central"' in error.fix


def test_devices_are_told_how_to_report() -> None:
    with pytest.raises(Refused) as caught:
        planned(REFUSED["rows on the device"][1])
    assert 'mechanism="prio3"' in caught.value.errors[0].fix
    planned(REFUSED["rows on the device"][1].replace("central", "prio3"))


ALL = (
    SEEN
    + WHO
    + f"""
more = DerivedMetric(sql="each * 2.0 + seen", keep="7d")
each = RatioMetric(numerator=seen, denominator=who)
total = CumulativeMetric(metric=seen, window="7d")
new = CumulativeMetric(metric=who)
titles = Metric(measure=Measure.count(catalogue), dimensions=["genre"], purposes=[discover])
kinds = Metric(measure=Measure.histogram(visits, "catalogue.genre", max_rows=5), {CENTRAL})
best = Metric(measure=Measure.top(visits, "item", 3), {CENTRAL})
middle = Metric(measure=Measure.quantile(visits, "seconds", 0.5, low=0, high=60, step=1, max_rows=5), {CENTRAL})
turned = ConversionMetric(
    base=Measure.persons(visits), then=Measure.persons(visits, where="seconds > 10"), within="7d",
    dimensions={{"genre": "catalogue.genre", "item": "item", "long": "seconds > 60"}}, {CENTRAL},
)
"""
)


def test_all_kinds_plan_and_print() -> None:
    plan = planned(ALL)
    told = "\n".join(line.text for line in explain(plan, None))
    for node in plan.of("metric"):
        assert f"{node.id} " in told
        assert describe(node)
    assert "rate of persons of visits, then within 1w persons of visits where seconds > 10" in told
    assert "ε 0.5 at δ 1e-06 an answer, for each person; 1 different question" in told
    assert document(plan)["nodes"]["each"]["spec"]["ratio"] == {
        "numerator": "seen",
        "denominator": "who",
    }


def test_a_mechanism_declassifies_and_terms_narrow() -> None:
    plan = planned(ALL)
    seen = plan.label(Port("seen", "value"))
    assert seen.linkability is Linkability.AGGREGATE
    assert seen.place is Place.CLOUD
    assert not seen.subjects
    assert seen.releases == {"seen"}
    more = plan.label(Port("more", "value"))
    assert more.releases == {"seen", "who"}
    assert plan.nodes["more"].spec["keep"] == "1w"
    assert plan.label(Port("titles", "value")).linkability is Linkability.PUBLIC


def test_lineage_goes_through_metrics() -> None:
    plan = planned(ALL)
    made = {str(reach.port): reach.flow for reach in origins(plan, Port("turned", "value"))}
    assert made["visits.visitor"] == "indirect"
    assert made["catalogue.genre"] == "indirect"  # a dimension that it may be asked by
    assert made["visits.seconds"] == "indirect"
    assert Port("more", "value") in {r.port for r in reached(plan, Port("visits", "visitor"))}


def test_what_devices_report_crosses_by_the_metric_alone() -> None:
    plan = planned(
        f"m = Metric(measure=Measure.histogram(orders, 'item', max_rows=1), {CENTRAL.replace('central', 'prio3')})"
    )
    [crossing] = [c for c in plan.crossings if c.target == "m"]
    assert (str(crossing.origin), str(crossing.destination), crossing.by) == (
        "device", "cloud", "release",
    )  # fmt: skip
    assert plan.label(Port("m", "value")).place is Place.CLOUD
    told = "\n".join(line.text for line in explain(plan, None))
    assert "m   device → cloud, when it is asked" in told
    assert "ε 0.5 at δ 1e-06 a period, for each person; 1 period" in told
    assert "none alone" in told


def test_which_dimensions_are_public() -> None:
    dims = planned(ALL).nodes["turned"].spec["dimensions"]
    assert {name: spec["domain"] for name, spec in dims.items()} == {
        "genre": "catalogue",
        "item": "catalogue",
        "long": "bool",
    }
    private = f"m = Metric(measure={LOOKS}, dimensions=['seconds'], {CENTRAL})"
    assert planned(private).nodes["m"].spec["dimensions"]["seconds"]["domain"] is None


def test_every_answer_is_on_the_bill() -> None:
    one = planned(SEEN)
    three = planned(SEEN.replace("epsilon=0.5", "epsilon=0.5, answers=3"))
    [charge] = [charge for charge in three.bill if charge.release == "seen"]
    assert charge.loss == price(three.nodes["seen"].spec, 1e-6)
    purpose = 1e-6
    assert composed(three.bill, "discover", purpose) > composed(one.bill, "discover", purpose)
    assert "titles" not in {charge.release for charge in planned(ALL).bill}
    pure = planned(SEEN.replace("epsilon=0.5", "epsilon=0.5, delta=0"))
    assert [c.loss.pure for c in pure.bill if c.release == "seen"] == [0.5]
    chosen = f"m = Metric(measure={LOOKS}, dimensions=['seconds'], {CENTRAL})"
    [loss] = [charge.loss for charge in planned(chosen).bill if charge.release == "m"]
    assert loss.failure == 0.5e-6, "for keys that are chosen by their people"


def test_a_changed_part_changes_what_stands_on_it() -> None:
    before = document(planned(ALL))
    after = document(planned(ALL.replace("max_rows=5), mechanism", "max_rows=6), mechanism", 1)))
    change = difference(before, after)
    assert "seen" in change.changed
    assert {"more", "each", "total"} <= set(change.affected)
    assert "titles" not in change.affected
