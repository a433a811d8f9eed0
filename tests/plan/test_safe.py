"""Projects that must plan, each close to one that must not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from projects import planned

from tacit.declare import Place

SINK = 'place="cloud", to="training", purposes=[discover], region="eu", keep="30d"'
RELEASE = 'mechanism="sum", to="cloud", purposes=[discover], epsilon=1, keep="30d", region="eu"'
TERMS = 'place="device", region="eu", keep="9d", basis="consent", purposes=[discover]'
CLOUD = TERMS.replace("device", "cloud")
KEYS = '"who": key(shopper, "user.unique_id"), "at": time("user.behavior")'

WRITTEN = {
    "the prelude": "",
    "a sink as long as its data": f"out = Sink(signals=[looks], {SINK.replace('30d', '90d')})",
    "the same length in other words": f"out = Sink(signals=[looks], {SINK.replace('30d', '2160h')})",
    "a sink in both regions": f"out = Sink(signals=[looks], {SINK.replace(chr(34) + 'eu' + chr(34), '[`us`, `eu`]'.replace('`', chr(34)))})",
    "a sink for both purposes": f"out = Sink(signals=[looks], {SINK.replace('discover', 'discover, research')})",
    "a purpose by its name": f"out = Sink(signals=[looks], {SINK.replace('[discover]', '[`discover`]'.replace('`', chr(34)))})",
    "sensitive and cleared": f"s = visits.last('address')\nout = Sink(signals=[s], sensitive='user.location.precise', {SINK})",
    "sensitive and cleared from above": f"s = visits.last('address')\nout = Sink(signals=[s], sensitive=['user.location'], {SINK})",
    "sensitive but not read": f"s = visits.distinct('item', '7d')\nout = Sink(signals=[s], {SINK})",
    "members where they may be": f"t = Events('x', {CLOUD}, columns={{'who': key(member, 'user.name'), 'at': time('user.behavior')}})\ns = t.count('7d')\nout = Sink(signals=[s], linkability='identified', {SINK.replace('30d', '9d')})",
    "a device's own file": f"out = Sink(signals=[spend], {SINK.replace('cloud', 'device').replace('training', 'export')})",
    "public content in a public sink": f"t = Events('x', place='cloud', category=PUBLIC, columns={{'item': key(article), 'at': time()}})\ns = t.count('7d', per=article)\nout = Sink(signals=[s], linkability='public', {SINK.replace('30d', 'ever')})",
    "public content of an enclave's source in the cloud": "t = Table('x', of=store, place='enclave', category=PUBLIC, columns={'s': key(store)})",
    "content joined on the device": "s = orders.sum('catalogue.weight * quantity', '30d', by='catalogue.genre', where='catalogue.heavy')",
    "two tables joined": "s = orders.count('30d', by=\"catalogue.genre || ' in ' || stores.city\")",
    "public cloud events joined on the device": "notes = Table('x', of=article, place='device', category=PUBLIC, columns={'item': key(article), 'liked': flag()})\nnews = Events('x', place='cloud', category=PUBLIC, columns={'item': key(article), 'at': time()})\na = news.count('7d', per=article)\nb = news.count('7d', per=article, where='notes.liked')",
    "a cloud release": f"s = visits.count('30d', by='item')\nr = Release('x', signal=s, over=catalogue, {RELEASE})",
    "two releases within the budget": f"r = Release('x', signal=units, over=catalogue, {RELEASE})",
    "a model on its release's terms": "m = Model('x', learner='item_item', release=taste)",
    "a model on stricter terms": "m = Model('x', learner='item_item', release=taste, keep='40d', region='eu', purposes=[discover])",
    "a metric": "m = Metric('x', release=taste, minimum=50)",
    "a metric and a model of one release": "m = Metric('x', release=taste, minimum=50)\nn = Model('x', learner='item_item', release=taste)",
    "two people, one named": f"t = Events('x', {TERMS}, columns={{{KEYS}, 'whom': key(member, 'user.name')}})\ns = t.count('7d', per=member)\nu = t.count('7d', per=[shopper, member])",
    "a pair of keys": "s = visits.count('7d', per=(shopper, article))",
    "a narrowed column, within its terms": f"t = Events('x', {CLOUD}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(keep='2d', region='eu')}})\ns = t.sum('a', '2d')\nout = Sink(signals=[s], {SINK.replace('30d', '2d')})",
    "a narrowed column that nobody reads": f"t = Events('x', {CLOUD}, columns={{{KEYS}, 'a': integer('user.behavior').narrow(keep='2d', region='us')}})\ns = t.count('9d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d')})",
    "anywhere": f"t = Events('x', {CLOUD.replace(chr(34) + 'eu' + chr(34), 'ANYWHERE')}, columns={{{KEYS}}})\ns = t.count('9d')\nout = Sink(signals=[s], {SINK.replace('30d', '9d').replace('eu', 'br')})",
    "in a loop": "windows = {f'looks_{days}d': visits.count(f'{days}d') for days in (1, 7, 30)}",
    "in a list": "several = [visits.count('1d'), visits.count('2d')]",
    "deep derivations": f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a0': integer('user.behavior')}}, derived={{f'a{{i + 1}}': f'a{{i}} + 1' for i in range(40)}})\ns = t.max('a40', '2d')",
    "derivations in any order": f"t = Events('x', {TERMS}, columns={{{KEYS}, 'a': integer('user.behavior')}}, derived={{'d': 'c + b', 'c': 'b + 1', 'b': 'a'}})\ns = t.max('d', '2d')",
    "a rebound declaration": "again = looks",
    "columns with odd names": f"t = Events('x', {TERMS}, columns={{{KEYS}, 'größe in m²': number('user.behavior')}})\ns = t.mean('\"größe in m²\" * 2', '2d')",
}  # fmt: skip


def variants() -> Iterator[tuple[str, str]]:
    for aggregate, source, window in itertools.product(
        ("sum", "mean", "min", "max", "first", "last", "distinct"),
        (("orders", "quantity"), ("orders", "spend"), ("visits", "seconds")),
        ("1h", "30d", None),
    ):
        text = f"s = {source[0]}.{aggregate}('{source[1]}', {window!r}, by='item')"
        yield f"{aggregate} of {source[1]} in {window}", text
    for keep, region, purpose in itertools.product(
        ("1d", "90d"), ("eu", "us"), ("discover", "research")
    ):
        terms = SINK.replace("30d", keep).replace("eu", region).replace("discover", purpose)
        yield f"{keep} in {region} for {purpose}", f"out = Sink(signals=[looks], {terms})"


CASES = [*WRITTEN.items(), *variants()]


def test_there_are_a_hundred() -> None:
    assert len(dict(CASES)) == len(CASES) >= 100


@pytest.mark.parametrize("text", [text for _, text in CASES], ids=[name for name, _ in CASES])
def test_planned(text: str) -> None:
    plan = planned(text)
    for node in plan.nodes.values():
        assert node.hash
        assert all(column.label is not None for column in node.columns)
        if node.kind in ("prepare", "signal"):
            assert (node.place, node.engine) in ((Place.DEVICE, "sqlite"), (Place.CLOUD, "local"))
            if node.kind == "signal":
                assert node.place == plan.nodes[node.inputs[0]].place
    for crossing in plan.crossings:
        if crossing.origin is Place.DEVICE:
            assert crossing.by == "release"


def test_nothing_plans_fine() -> None:
    plan = planned("", prelude="")
    assert not plan.nodes
    assert not plan.crossings
    assert len(plan.hash) == 32


def test_rows_for_the_device_are_prepared_apart() -> None:
    text = WRITTEN["public cloud events joined on the device"]
    plan = planned(text)
    assert plan.nodes["a"].place is Place.CLOUD
    assert plan.nodes["b"].place is Place.DEVICE
    assert plan.nodes["b"].inputs == ("news:article@device", "notes")
    assert {(c.source, c.target, c.by) for c in plan.crossings} >= {
        ("news", "news:article@device", "content")
    }
