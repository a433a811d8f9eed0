"""What people here enjoy, learned without collecting what anybody did."""

from tacit import PUBLIC, Entity, Events, Model, Purpose, Release, Table, flag, key, text, time

person = Entity("Someone who uses the app.", person="pseudonymous")
thing = Entity("Something to discover.")

discover = Purpose(
    "Show each person what they are likely to enjoy.",
    use="personalize.content",
    basis="consent",
    epsilon=4.0,
    delta=1e-5,
)

catalogue = Table(
    "Everything there is to discover; the same for everybody.",
    of=thing,
    place="cloud",
    columns={"item": key(thing, PUBLIC), "title": text(PUBLIC)},
)

history = Events(
    "What a person did and when, kept on their own device.",
    place="device",
    region="eu",
    keep="730d",
    basis="consent",
    purposes=[discover],
    time="at",
    columns={
        "person": key(person, "user.unique_id.pseudonymous"),
        "item": key(thing, "user.behavior"),
        "at": time("user.behavior"),
        "enjoyed": flag("user.behavior"),
    },
)

first_enjoyed = history.min("at", by="item", where="enjoyed", doc="When each was first enjoyed.")
lately = history.distinct("item", "30d", doc="How many different things in thirty days.")

taste = Release(
    "Which things are enjoyed together, and how often: a noisy sum over everybody.",
    signal=first_enjoyed,
    over=catalogue,
    mechanism="pairs",
    to="cloud",
    purposes=[discover],
    epsilon=4.0,
    delta=1e-5,
    region="eu",
    keep="ever",
)

recommender = Model(
    "Weights between things; each device ranks with them by its own history.",
    learner="item_item",
    release=taste,
    purposes=[discover],
    region="eu",
    keep="ever",
)

taste_space = Model(
    "A vector for each thing; a device adds up its own to find its person's.",
    learner="spectral",
    release=taste,
    purposes=[discover],
    region="eu",
    keep="ever",
)
