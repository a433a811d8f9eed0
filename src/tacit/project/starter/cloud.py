"""What people look at, in the cloud: features to serve and to learn from, numbers about all."""

from tacit import (
    PUBLIC,
    Entity,
    Events,
    Formula,
    Measure,
    Metric,
    Purpose,
    Sink,
    Table,
    flag,
    key,
    number,
    text,
    time,
)

person = Entity("Someone who uses the app.", person="pseudonymous")
thing = Entity("Something to discover.")

discover = Purpose(
    "Show each person what they are likely to enjoy.",
    use="personalize.content",
    basis="consent",
    epsilon=6.0,
    delta=1e-6,
)

catalogue = Table(
    "Everything there is to discover.",
    of=thing,
    place="cloud",
    columns={"item": key(thing, PUBLIC), "title": text(PUBLIC), "genre": text(PUBLIC)},
)

views = Events(
    "Who looked at what, when, and for how long.",
    place="cloud",
    region="eu",
    keep="400d",
    basis="consent",
    purposes=[discover],
    time="at",
    category="user.behavior",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"),
        "item": key(thing),
        "at": time(),
        "seconds": number(),
    },
)

choices = Events(
    "What each person allowed, each time they were asked.",
    place="cloud",
    region="eu",
    keep="ever",
    basis="legal_obligation",
    purposes=[discover],
    time="at",
    category="user.privacy_preferences",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"),
        "at": time(),
        "allowed": flag(),
    },
)

# Of one person, of one thing, and of both together; each is of [t - window, t).
views_7d = views.count("7d")
views_30d = views.count("30d")
seconds_30d = views.mean("seconds", "30d")
last_viewed = views.last("item", "30d").fresh("7d")
genres_30d = views.count("30d", by="catalogue.genre")
viewed_7d = views.count("7d", per=thing)
again_30d = views.count("30d", per=(person, thing))
lately = Formula("How much of a month was in its last week.", sql="views_7d / views_30d")

refused = choices.last("NOT allowed")  # asked at each read: see [serve.refusals] in tacit.toml
returns_7d = views.count().ahead("7d")  # what came of it, to learn to foresee

viewers = Metric(
    "How many people looked at something.",
    measure=Measure.persons(views),
    mechanism="central",
    epsilon=0.5,
    delta=1e-8,
    minimum=20,
    answers=8,
    max_groups=3,
    dimensions={"genre": "catalogue.genre"},
    purposes=[discover],
    region="eu",
    keep="365d",
)

page = Sink(
    "What the app's pages are made of.",
    signals=[
        views_7d,
        views_30d,
        lately,
        seconds_30d,
        last_viewed,
        genres_30d,
        viewed_7d,
        again_30d,
    ],
    to="online",
    place="cloud",
    purposes=[discover],
    region="eu",
    keep="30d",
)

training = Sink(
    "Rows to learn from.",
    signals=[
        views_7d,
        views_30d,
        lately,
        seconds_30d,
        last_viewed,
        viewed_7d,
        again_30d,
        returns_7d,
    ],
    to="training",
    place="cloud",
    purposes=[discover],
    region="eu",
    keep="90d",
)
