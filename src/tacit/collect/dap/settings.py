"""The files of a task's parties, and how they are made and read.

`new_task` writes one TOML file for each party into a folder: `leader.toml`, `helper.toml`,
`collector.toml`, and `client.toml`, which alone holds no secret. Give each party its own file and
no other: whoever has leader's and helper's can open every report::

    party = "leader"
    listen = "127.0.0.1:8001"
    database = "leader.db"              # a file beside this one, or postgresql://…
    expiry = "90d"                      # older reports are refused, and their ids forgotten; left
                                        # out: none is too old

    [[keys]]                            # HPKE keys, preferred first; keep old ones for two days
    id = 17
    aead = 1
    secret = "…"

    [[tasks]]
    verify_key = "…"                    # known to leader and helper only
    token = "…"                         # what the leader presents to the helper
    accept = ["…"]                      # tokens of whoever may ask: at the leader, the collector
    collector = "…"                     # the collector's HPKE configuration

    [tasks.task]                        # the task itself, the same in every file
    …

    [tasks.budget]                      # at the collector, for a task with noise
    purpose = "measure"
    epsilon = 3.0
    delta = 1e-06

    [tasks.epochs]                      # where clients' time is cut into epochs (`govern.epochs`)
    subject = "person"
    length = "30d"
    epsilon = 8.0
    delta = 1e-06
    team = "growth"                     # who collects, and its quota; left out: no quotas
    quota = 2.0

The collector's ledger is `ledger.db` beside its file; `ledger = "…/.tacit/control.sqlite"` at its
top names that of a project instead, so that one ledger counts what both release.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tacit.collect.dap.codec import decode, encode
from tacit.collect.dap.errors import refuse
from tacit.collect.dap.messages import HPKE_CONFIG, MOST_REPORTS, HpkeConfig
from tacit.collect.dap.peer import Token
from tacit.collect.dap.sealing import KeyPair
from tacit.collect.dap.task import Task
from tacit.errors import CollectError, DeclarationError, PrivacyError, SecurityError
from tacit.govern.epochs import Epochs
from tacit.govern.ledger import Budget
from tacit.privacy.hpke import PrivateKey, Suite
from tacit.privacy.randomness import Randomness
from tacit.store.control import ControlStore
from tacit.values import SECOND, Secret, duration

PARTIES: Final = ("leader", "helper", "collector")
LEDGER: Final = "ledger.db"  # beside the collector's file


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """A task as one party has it. What the party does not need is None."""

    task: Task
    verify_key: Secret | None = None
    token: Token | None = None
    accept: tuple[Secret, ...] = ()
    collector: HpkeConfig | None = None
    budget: Budget | None = None
    epochs: Epochs | None = None
    team: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a party's file says. `database` is a path or a `postgresql:` URL, `expiry` seconds."""

    party: str
    listen: str
    database: str
    keys: tuple[KeyPair, ...]
    tasks: tuple[TaskSettings, ...]
    job_size: int = 512
    workers: int = 2
    expiry: int | None = None
    ledger: Path = Path(LEDGER)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on. Raises CollectError T825."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise _wrong(f"{self.listen!r} is no address", "write host:port", "listen")
        return host.strip("[]"), int(port)


def read_settings(path: Path, party: str) -> Settings:
    """A party's file. Raises CollectError T825 for a file that is none, is another party's, or may
    be read by others; T822 for a task that is none."""
    where = str(path)
    try:
        if os.stat(path).st_mode & 0o077:
            fix = f"chmod 600 {path}"
            raise _wrong("others may read the file, which holds keys", fix, where)
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _wrong(f"the settings cannot be read: {error}", "correct the file", where) from None
    if raw.get("party") != party:
        raise _wrong(f"these are settings of {raw.get('party')!r}", f"use {party}.toml", where)
    try:
        return _settings(path, raw)
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        DeclarationError,
        PrivacyError,
        SecurityError,
    ) as error:
        raise _wrong(f"the settings are incomplete: {error!r}", "correct them", where) from error


def _settings(path: Path, raw: Mapping[str, Any]) -> Settings:
    place = str(raw.get("database", f"{raw['party']}.db"))
    if not place.startswith(("postgresql:", "postgres:")):
        place = str(path.parent / place)
    sizes = {name: int(raw[name]) for name in ("job_size", "workers") if name in raw}
    if any(not 1 <= size <= MOST_REPORTS for size in sizes.values()):
        raise ValueError(f"job_size and workers are from 1 to {MOST_REPORTS}")
    keys = tuple(map(_key, raw["keys"]))
    if len({pair.config.id for pair in keys}) != len(keys):
        raise ValueError("two keys have one id: clients could not say which one they used")
    return Settings(
        party=raw["party"],
        listen=str(raw.get("listen", "")),
        database=place,
        keys=keys,
        tasks=tuple(map(_task, raw["tasks"])),
        expiry=duration(str(raw["expiry"])) // SECOND if "expiry" in raw else None,
        ledger=path.parent / str(raw.get("ledger", LEDGER)),
        **sizes,
    )


def _key(raw: Mapping[str, Any]) -> KeyPair:
    key = PrivateKey(Secret(bytes.fromhex(raw["secret"])))
    return KeyPair.of(int(raw["id"]), key, Suite(aead=int(raw.get("aead", 1))))


def _task(raw: Mapping[str, Any]) -> TaskSettings:
    verify_key, token, collector = (raw.get(name) for name in ("verify_key", "token", "collector"))
    return TaskSettings(
        task=Task.from_json(raw["task"]),
        verify_key=None if verify_key is None else Secret(bytes.fromhex(verify_key)),
        token=None if token is None else Token(_token(token)),
        accept=tuple(map(_token, raw.get("accept", ()))),
        collector=None if collector is None else decode(HPKE_CONFIG, bytes.fromhex(collector)),
        budget=None if "budget" not in raw else Budget(**raw["budget"]),
        epochs=None if "epochs" not in raw else _epochs(raw["epochs"]),
        team=str(raw.get("epochs", {}).get("team", "")),
    )


def _epochs(raw: Mapping[str, Any]) -> Epochs:
    length, quota = duration(str(raw["length"])), raw.get("quota")
    quotas = None if quota is None else {str(raw["team"]): quota}
    return Epochs(str(raw["subject"]), length, raw["epsilon"], raw["delta"], quotas)


def _token(text: str) -> Secret:
    if len(text) < 16 or not text.isascii() or " " in text:
        raise ValueError("a token has 16 or more characters of ASCII, and no spaces")
    return Secret(text.encode())


def new_task(
    folder: Path,
    task: Task,
    randomness: Randomness,
    listen: Sequence[str],
    budget: Budget | None = None,
) -> None:
    """Files for all parties of a task, with fresh keys and tokens. `listen`: the addresses of
    leader and helper. `budget`: what all releases of the task may cost together; with it, the
    collector gets a new ledger. Raises CollectError T825, StoreError T707 for files that are there.
    """
    verify_key = randomness.bytes(task.vdaf.prio3.verify_key_bytes).hex()
    peer, collecting = (randomness.bytes(24).hex() for _ in range(2))
    keys = {name: KeyPair.generate(id, randomness) for id, name in enumerate(PARTIES, start=1)}
    collector = encode(HPKE_CONFIG, keys["collector"].config).hex()
    shared: dict[str, Any] = {"verify_key": verify_key, "collector": collector}
    own: dict[str, dict[str, Any]] = {
        "leader": {**shared, "token": peer, "accept": [collecting]},
        "helper": {**shared, "accept": [peer]},
        "collector": {"token": collecting},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for party, at in zip(PARTIES, [*listen, ""], strict=True):
        head = {"party": party}
        if at:
            head |= {"listen": at, "database": f"{party}.db"}
        key = {"id": keys[party].config.id, "aead": 1, "secret": keys[party].key.secret}
        text = _table(head) + "\n[[keys]]\n" + _table(key) + "\n[[tasks]]\n" + _table(own[party])
        text += "\n" + _task_table(task)
        if budget is not None and party == "collector":
            said = ("purpose", "epsilon", "delta")
            text += "\n[tasks.budget]\n" + _table({name: getattr(budget, name) for name in said})
        _write(folder / f"{party}.toml", text, 0o600)
    if budget is not None:
        ControlStore.create(folder / LEDGER).close()
    _write(folder / "client.toml", _task_table(task, "task"), 0o644)


def read_client(path: Path) -> Task:
    """The task in a client's file. Raises CollectError T825, T822."""
    try:
        return Task.from_json(tomllib.loads(path.read_text(encoding="utf-8"))["task"])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise _wrong(f"it holds no task: {error!r}", "use client.toml", str(path)) from None


def _task_table(task: Task, name: str = "tasks.task") -> str:
    written = task.to_json()
    tables = {key: written.pop(key) for key in ("vdaf", "noise") if key in written}
    text = f"[{name}]\n" + _table(written)
    for key, table in tables.items():
        text += f"\n[{name}.{key}]\n" + _table(table)
    return text


def _table(values: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in values.items())


def _value(value: Any) -> str:
    """A TOML value: a number, a text of printable ASCII, or a list of them."""
    match value:
        case int() | float():
            return repr(value)
        case Secret():
            return f'"{value.reveal().hex()}"'
        case str() if value.isascii() and value.isprintable() and not set(value) & set('"\\'):
            return f'"{value}"'
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
    raise _wrong(f"{value!r} cannot be written", "use printable ASCII without quotes", "settings")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise _wrong("there is such a file already", "choose a new folder", str(path)) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def _wrong(message: str, fix: str, where: str) -> CollectError:
    return refuse("T825", message, fix, where)
