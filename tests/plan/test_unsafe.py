"""Projects that must be refused: the code, the line to change, and both ends of the path."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from projects import line_of, planned

from tacit.errors import DeclarationError, Refused, TacitError


@dataclass(frozen=True)
class Case:
    """A text after the prelude; the line to change is marked `# wrong`."""

    name: str
    code: str
    text: str
    start: str = ""
    end: str = ""


SINK = 'place="cloud", to="training", purposes=[discover], region="eu", keep="30d"'
RELEASE = 'mechanism="sum", to="cloud", purposes=[discover], epsilon=1, keep="30d", region="eu"'
TERMS = 'place="device", region="eu", keep="9d", basis="consent", purposes=[discover]'
KEYS = '"who": key(shopper, "user.unique_id"), "at": time("user.behavior")'

FLOWS = [
    Case("device data in a cloud sink", "T202", f"out = Sink(signals=[spend], {SINK})  # wrong", "orders.price", "sink out"),
    Case("through a filter alone", "T202", f'n = visits.count("7d")\nm = orders.count("7d", where="gift")\nout = Sink(signals=[n, m], {SINK})  # wrong', "orders.gift", "sink out"),
    Case("through a histogram's key", "T202", f"out = Sink(signals=[units], {SINK})  # wrong", "orders.quantity", "sink out"),
    Case("through a joined key", "T202", f'g = orders.count(by="catalogue.genre")\nout = Sink(signals=[g], {SINK})  # wrong', "orders.item", "sink out"),
    Case("through a CASE condition", "T202", f"g = orders.sum(\"CASE WHEN gift THEN 1 ELSE 0 END\", \"7d\")\nout = Sink(signals=[g], {SINK})  # wrong", "orders.gift", "sink out"),
    Case("through a derived column of a derived column", "T202", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': integer('user.behavior')}}, derived={{'b': 'a + 1', 'c': 'b * 2'}})\ns = t.max('c')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.a", "sink out"),
    Case("device data in an enclave", "T202", f"out = Sink(signals=[spend], {SINK.replace('cloud', 'enclave')})  # wrong", "orders.price", "sink out"),
    Case("public columns of the device", "T202", f"t = Events('x', place='device', category=PUBLIC, columns={{'item': key(article), 'at': time()}})\ns = t.count(per=article)\nout = Sink(signals=[s], {SINK})  # wrong", "t.item", "sink out"),
    Case("an enclave's release in a cloud model", "T202", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('cloud', 'enclave')})\nm = Model('y', learner='item_item', release=r)  # wrong", "release r", "model m"),
    Case("a purpose the data is not for", "T203", f"out = Sink(signals=[looks], {SINK.replace('discover', 'advertise')})  # wrong", "visits.visitor", "sink out"),
    Case("one purpose of two", "T203", f"out = Sink(signals=[looks], {SINK.replace('discover', 'discover, advertise')})  # wrong", "visits.visitor", "sink out"),
    Case("a release for another purpose", "T203", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('discover', 'advertise')})  # wrong", "orders.quantity", "release r"),
    Case("a model beyond its release", "T203", "m = Model('x', learner='item_item', release=taste, purposes=[research])  # wrong", "release taste", "model m"),
    Case("a column narrowed to other purposes", "T203", f"t = Events('x', {TERMS.replace('device', 'cloud').replace('[discover]', '[discover, research]')}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(purposes=[research])}})\ns = t.max('a', '7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.a", "sink out"),
    Case("columns with no purpose in common", "T203", f"t = Events('x', {TERMS.replace('device', 'cloud').replace('[discover]', '[discover, research]')}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(purposes=[research]), 'b': integer('user.behavior').narrow(purposes=[discover])}})\ns = t.max('a + b', '7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.a", "sink out"),
    Case("a sink for no purpose", "T203", f"out = Sink(signals=[looks], {SINK.replace('discover', '')})  # wrong"),
    Case("kept past the source", "T204", f"out = Sink(signals=[looks], {SINK.replace('30d', '91d')})  # wrong", "visits.visitor", "sink out"),
    Case("kept for ever", "T204", f"out = Sink(signals=[looks], {SINK.replace('30d', 'ever')})  # wrong", "visits.visitor", "sink out"),
    Case("a model kept past its release", "T204", "m = Model('x', learner='item_item', release=taste, keep='366d')  # wrong", "release taste", "model m"),
    Case("a bundle used past its model", "T204", "m = Model('x', learner='item_item', release=taste, keep='7d', expires='8d')  # wrong", "model m", "bundle m:bundle"),
    Case("kept in another region", "T205", f"out = Sink(signals=[looks], {SINK.replace('eu', 'cn')})  # wrong", "visits.visitor", "sink out"),
    Case("kept in any region", "T205", f"out = Sink(signals=[looks], {SINK.replace(chr(34) + 'eu' + chr(34), 'ANYWHERE')})  # wrong", "visits.visitor", "sink out"),
    Case("a metric read abroad", "T205", "m = Metric('x', release=taste, minimum=50, region='us')  # wrong", "release taste", "metric m"),
    Case("regions with none in common", "T205", f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(region='us')}})\ns = t.max('a', '7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.a", "sink out"),
    Case("people in an aggregate sink", "T206", f"out = Sink(signals=[looks], linkability='aggregate', {SINK})  # wrong", "visits.visitor", "sink out"),
    Case("members in a pseudonymous sink", "T206", f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{'who': key(member, 'user.name'), 'at': time('user.behavior')}})\ns = t.count('7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.who", "sink out"),
    Case("rows tell of people though every column read is public", "T206", f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{'who': key(shopper, 'user.unique_id'), 'item': key(article, PUBLIC), 'at': time(PUBLIC)}})\ns = t.count('7d', per=article)\nout = Sink(signals=[s], linkability='public', {SINK.replace('30d', '9d')})  # wrong", "t.who", "sink out"),
    Case("people's rows without their key", "T206", f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{'answer': text('user.social'), 'item': key(article, PUBLIC), 'at': time(PUBLIC)}})\ns = t.count('7d', per=article)\nout = Sink(signals=[s], linkability='aggregate', {SINK.replace('30d', '9d')})  # wrong", "t.answer", "sink out"),
    Case("sensitive by value", "T207", f"s = visits.last('address')\nout = Sink(signals=[s], {SINK})  # wrong", "visits.address", "sink out"),
    Case("sensitive by a filter", "T207", f"s = visits.count('7d', where=\"address = 'here'\")\nout = Sink(signals=[s], {SINK})  # wrong", "visits.address", "sink out"),
    Case("sensitive in a release", "T207", f"s = orders.count(by='item', where=\"city <> ''\")\nr = Release('x', signal=s, over=catalogue, {RELEASE})  # wrong", "orders.city", "release r"),
    Case("a category so broad that it hides sensitive ones", "T207", f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{{KEYS}, 'a': text('user.demographic')}})\ns = t.last('a', '7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong", "t.a", "sink out"),
    Case("another sensitive category is cleared", "T207", f"s = visits.last('address')\nout = Sink(signals=[s], sensitive=['user.biometric'], {SINK})  # wrong", "visits.address", "sink out"),
    Case("a basis the purpose does not accept", "T208", f"t = Events('x', {TERMS.replace('device', 'cloud').replace('discover', 'deliver')}, columns={{{KEYS}}})\ns = t.count('7d')\nout = Sink(signals=[s], {SINK.replace('discover', 'deliver').replace('30d', '9d')})  # wrong", "t.who", "sink out"),
    Case("a basis survives a release", "T208", f"idle = Purpose('x', use='analytics', epsilon=9)\nt = Events('x', {TERMS.replace('discover', 'idle')}, columns={{{KEYS}, 'item': key(article, 'user.behavior')}})\ns = t.count(by='item')\nr = Release('x', signal=s, over=catalogue, {RELEASE.replace('discover', 'idle')})  # wrong", "t.", "release r"),
    Case("cloud people joined on the device", "T209", f"people = Table('x', of=shopper, {TERMS.replace('device', 'cloud')}, columns={{'who': key(shopper, 'user.unique_id'), 'age': integer('user.demographic.age_range')}})\ns = orders.count('7d', where='people.age > 30')  # wrong", "people.age", "prepare orders:shopper"),
    Case("cloud events joined to a table of the device", "T209", "notes = Table('x', of=article, place='device', category=PUBLIC, columns={'item': key(article), 'liked': flag()})\ns = visits.count('7d', where='notes.liked')  # wrong", "visits.", "prepare visits:shopper@device"),
    Case("cloud people in a sink of the device", "T209", f"out = Sink(signals=[looks], {SINK.replace('cloud', 'device').replace('training', 'export')})  # wrong", "visits.visitor", "sink out"),
    Case("over budget", "T211", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('epsilon=1', 'epsilon=7')})  # wrong", "taste (epsilon 4)", "purpose discover"),
    Case("a purpose without a budget", "T211", f"free = Purpose('x', use='analytics', basis='consent')\nt = Events('x', {TERMS.replace('discover', 'free')}, columns={{{KEYS}, 'item': key(article, 'user.behavior')}})\ns = t.count(by='item')\nr = Release('x', signal=s, over=catalogue, {RELEASE.replace('discover', 'free')})  # wrong", "r (epsilon 1)", "purpose free"),
    Case("a loss that nobody can bound", "T210", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('epsilon=1', 'epsilon=1e-310')})  # wrong"),
    Case("a domain of people's keys", "T212", f"bought = Table('x', of=article, {TERMS.replace('device', 'cloud')}, columns={{'item': key(article, 'user.behavior')}})\nr = Release('x', signal=units, over=bought, {RELEASE})  # wrong", "bought.item", "release r"),
    Case("a domain on the device", "T212", f"bought = Table('x', of=article, place='device', columns={{'item': key(article, PUBLIC)}})\nr = Release('x', signal=units, over=bought, {RELEASE})  # wrong", "bought.item", "release r"),
]  # fmt: skip

LABELS = [
    Case("a column without a label", "T201", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': text()}})  # wrong", "t.a", "t.a"),
    Case("a source without its place", "T201", f"t = Events('x', {TERMS.partition(', ')[2]}, columns={{{KEYS}}})  # wrong"),
    Case("a source without its region", "T201", f"t = Events('x', {TERMS.replace(chr(34) + 'eu' + chr(34), 'None')}, columns={{{KEYS}}})  # wrong"),
    Case("a source without its keep", "T201", f"t = Events('x', {TERMS.replace(chr(34) + '9d' + chr(34), 'None')}, columns={{{KEYS}}})  # wrong"),
    Case("a source without its basis", "T201", f"t = Events('x', {TERMS.replace(chr(34) + 'consent' + chr(34), 'None')}, columns={{{KEYS}}})  # wrong"),
    Case("a source for no purpose", "T201", f"t = Events('x', {TERMS.replace('discover', '')}, columns={{{KEYS}}})  # wrong"),
    Case("a sink without its region", "T201", f"out = Sink(signals=[looks], {SINK.replace(chr(34) + 'eu' + chr(34), 'None')})  # wrong"),
    Case("a release without its region, and a model that would have it", "T201", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('region=' + chr(34) + 'eu' + chr(34), 'region=None')})  # wrong\nm = Model('y', learner='item_item', release=r)"),
    Case("a release without its keep", "T201", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace(chr(34) + '30d' + chr(34), 'None')})  # wrong"),
]  # fmt: skip

DECLARED = [
    Case("an unknown column", "T111", "s = orders.sum('prise', '7d')  # wrong"),
    Case("an unknown column of a table", "T111", "s = orders.count('7d', by='catalogue.gender')  # wrong"),
    Case("an unknown column in a derivation", "T111", f"t = Events('x', {TERMS}, columns={{{KEYS}}}, derived={{'a': 'b + 1'}})  # wrong"),
    Case("text added", "T112", "s = orders.sum('city + 1', '7d')  # wrong"),
    Case("a filter that is a number", "T112", "s = orders.count('7d', where='quantity')  # wrong"),
    Case("keys of two types joined", "T112", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'store': key(store, 'user.behavior')}})\ns = t.count('7d', by='stores.city')  # wrong"),
    Case("a key that is measured", "T112", "k = key(article, PUBLIC, type='float')  # wrong"),
    Case("a sum of text", "T113", "s = orders.sum('city', '7d')  # wrong"),
    Case("a release of a number", "T113", f"r = Release('x', signal=spend, over=catalogue, {RELEASE})  # wrong"),
    Case("a release of text", "T113", f"s = orders.last('city', by='item')\nr = Release('x', signal=s, over=catalogue, {RELEASE})  # wrong"),
    Case("pairs of counts", "T113", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('sum', 'pairs')})  # wrong"),
    Case("a release by what its table does not list", "T114", f"s = orders.count(by='city')\nr = Release('x', signal=s, over=catalogue, {RELEASE})  # wrong"),
    Case("a release by an expression", "T114", f"s = orders.count(by=\"item || ''\")\nr = Release('x', signal=s, over=catalogue, {RELEASE})  # wrong"),
    Case("nobody's history", "T114", "t = Events('x', place='cloud', category=PUBLIC, columns={'item': key(article), 'at': time()})\ns = t.count('7d')  # wrong"),
    Case("two people's history", "T114", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'whom': key(member, 'user.name')}})\ns = t.count('7d')  # wrong"),
    Case("two parts of one person", "T114", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'whom': key(shopper, 'user.unique_id')}})\ns = t.count('7d')  # wrong"),
    Case("per an entity that is not there", "T114", "s = visits.count('7d', per=store)  # wrong"),
    Case("per an entity twice", "T114", "s = visits.count('7d', per=(shopper, shopper))  # wrong"),
    Case("a table without its key", "T114", "t = Table('x', of=store, place='cloud', columns={'item': key(article, PUBLIC)})  # wrong"),
    Case("a table with two keys", "T114", "t = Table('x', of=store, place='cloud', category=PUBLIC, columns={'a': key(store), 'b': key(store)})  # wrong"),
    Case("signals of two spines in a sink", "T114", f"s = visits.count('7d', per=article)\nout = Sink(signals=[looks, s], {SINK.replace('training', 'export')})  # wrong"),
    Case("a table that is none", "T115", "s = orders.count('7d', by='catalog.genre')  # wrong"),
    Case("a table that shares no key", "T115", "s = visits.count('7d', by='stores.city')  # wrong"),
    Case("a table named without being one", "T115", "s = orders.count('7d', by='visits.address')  # wrong"),
    Case("an unknown mechanism", "T117", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('sum', 'total')})  # wrong"),
    Case("an unknown learner", "T117", "m = Model('x', learner='magic', release=taste)  # wrong"),
    Case("an unknown aggregate", "T117", "s = type(spend)(source=orders, aggregate='median', value='price')  # wrong"),
    Case("a window of zero", "T101", "s = orders.count('0d')  # wrong"),
    Case("a window that is no duration", "T101", "s = orders.count('month')  # wrong"),
    Case("a keep of zero", "T101", f"t = Events('x', {TERMS.replace('9d', '0h')}, columns={{{KEYS}}})  # wrong"),
    Case("a circle of derivations", "T106", f"t = Events('x', {TERMS}, columns={{{KEYS}}}, derived={{'a': 'b + 1', 'b': 'c', 'c': 'a'}})  # wrong"),
    Case("a column derived from itself", "T106", f"t = Events('x', {TERMS}, columns={{{KEYS}}}, derived={{'a': 'a + 1'}})  # wrong"),
    Case("a window past the source", "T107", "s = visits.count('91d')  # wrong"),
    Case("a window past a column", "T107", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(keep='2d')}}, derived={{'b': 'a * 2'}})\ns = t.sum('b', '3d')  # wrong"),
    Case("a purpose nobody declared", "T103", f"out = Sink(signals=[looks], {SINK.replace('discover', repr('discovery'))})  # wrong"),
    Case("a signal that is not bound", "T103", f"out = Sink(signals=[visits.count('7d')], {SINK})  # wrong"),
    Case("an entity that is not bound", "T103", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': key(Entity('y'), 'user.behavior')}})  # wrong"),
    Case("a purpose that is not bound", "T103", f"out = Sink(signals=[looks], {SINK.replace('discover', 'Purpose(use=' + repr('analytics') + ')')})  # wrong"),
    Case("events that never happen", "T103", f"t = Events('x', {TERMS}, time='item', columns={{{KEYS}, 'item': key(article, 'user')}})  # wrong"),
    Case("events that happen twice", "T103", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'til': time('user')}})  # wrong"),
    Case("an unknown category", "T104", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': text('user.behaviour')}})  # wrong"),
    Case("a person's key called public", "T104", f"t = Events('x', {TERMS}, columns={{'who': key(shopper, PUBLIC), 'at': time('user')}})  # wrong"),
    Case("an unknown use", "T104", "p = Purpose('x', use='personalise.content')  # wrong"),
    Case("an unknown category cleared", "T104", f"out = Sink(signals=[looks], sensitive=['user.secret'], {SINK})  # wrong"),
    Case("derived columns that double", "T110", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a0': integer('user')}}, derived={{f'a{{i + 1}}': f'a{{i}} + a{{i}}' for i in range(60)}})  # wrong"),
    Case("a model for no purpose", "T203", "m = Model('x', learner='item_item', release=taste, purposes=[])  # wrong"),
    Case("no SQL", "T110", "s = orders.sum('quantity *', '7d')  # wrong"),
    Case("a subquery", "T110", "s = orders.sum('(select 1)', '7d')  # wrong"),
    Case("a sink of nothing", "T116", f"out = Sink(signals=[], {SINK})  # wrong"),
    Case("a source of nothing", "T116", f"t = Events('x', {TERMS}, columns={{}})  # wrong"),
    Case("a signal twice in a sink", "T102", f"out = Sink(signals=[looks, looks], {SINK})  # wrong"),
    Case("a name twice", "T102", "s = orders.count(name='spend')  # wrong"),
    Case("two sources that engines confuse", "T102", "Orders = Table('x', of=article, place='cloud', columns={'item': key(article, PUBLIC)})  # wrong"),
    Case("two columns that engines confuse", "T102", f"t = Events('x', {TERMS}, columns={{{KEYS}, 'AT': text('user')}})  # wrong"),
    Case("a column derived over", "T102", f"t = Events('x', {TERMS}, columns={{{KEYS}}}, derived={{'at': '1'}})  # wrong"),
    Case("an entity with an engine's name", "T102", "at = Entity('x')  # wrong"),
    Case("a name with a dot", "T116", "more = {'a.b': orders.count()}  # wrong"),
    Case("an enclave without an engine", "T401", f"t = Events('x', {TERMS.replace('device', 'enclave')}, columns={{{KEYS}}})  # wrong\ns = t.count('7d')"),
    Case("a release to the enclave", "T401", f"r = Release('x', signal=units, over=catalogue, {RELEASE.replace('cloud', 'enclave')})  # wrong"),
]  # fmt: skip


def variants() -> Iterator[Case]:
    """Each aggregate, each sensitive category, each unstated or overstated term, each place."""
    for aggregate, place in itertools.product(
        ("sum", "mean", "min", "max", "first", "last", "distinct"), ("cloud", "enclave")
    ):
        text = f"s = orders.{aggregate}('price', '9d')\nout = Sink(signals=[s], {SINK.replace('cloud', place)})  # wrong"
        yield Case(f"{aggregate} to the {place}", "T202", text, "orders.price", "sink out")
    for category in ("user.health_and_medical", "user.biometric.voice", "user.childrens", "user.government_id", "user.financial", "user.location", "user"):  # fmt: skip
        text = f"t = Events('x', {TERMS.replace('device', 'cloud')}, columns={{{KEYS}, 'a': text('{category}')}})\ns = t.distinct('a', '7d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})  # wrong"
        if category != "user":
            yield Case(f"sensitive {category}", "T207", text, "t.a", "sink out")
    for keep, region in itertools.product(("91d", "13w", "ever"), ("eu", "us")):
        text = f"out = Sink(signals=[looks], {SINK.replace('30d', keep).replace(chr(34) + 'eu', chr(34) + region)})  # wrong"
        yield Case(f"{keep} in {region}", "T204", text, "visits.visitor", "sink out")
    for where in ("seconds > 1", "item = 'x'", "seconds IS NULL AND item <> ''"):
        text = f"s = visits.count('7d', where=\"{where} OR address = ''\")\nout = Sink(signals=[s], {SINK})  # wrong"
        yield Case(f"sensitive beside {where}", "T207", text, "visits.address", "sink out")


CASES = [*FLOWS, *LABELS, *DECLARED, *variants()]


def test_there_are_a_hundred() -> None:
    assert len(FLOWS) + len(LABELS) + len(DECLARED) >= 30
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(case: Case) -> None:
    with pytest.raises(TacitError) as caught:
        planned(case.text)
    errors = caught.value.errors if isinstance(caught.value, Refused) else (caught.value,)
    assert {error.code for error in errors} == {case.code}, str(caught.value)
    for error in errors:
        assert error.where == line_of(case.text, "# wrong"), str(error)
        assert error.fix
    if case.start:
        assert errors[0].path[0].startswith(case.start), str(errors[0])
        assert errors[0].path[-1] == case.end
    else:
        assert errors[0].path == ()


def test_one_error_does_not_hide_the_next() -> None:
    text = "a = orders.sum('prise')\nb = orders.count(by='catalog.x')\nc = orders.sum('city')\nd = Sink(signals=[a, b, c], place='cloud', to='export', purposes=[discover])"
    with pytest.raises(Refused) as caught:
        planned(text)
    assert caught.value.codes == ("T111", "T115", "T113")


def test_errors_name_the_declaration() -> None:
    with pytest.raises(Refused, match="signal 'prices' cannot be read: there is no column 'prise'"):
        planned("prices = orders.sum('prise', '7d')")
    with pytest.raises(DeclarationError, match="signal has window=30"):
        planned("prices = orders.sum('price', 30)")
