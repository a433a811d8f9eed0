"""`tacit stream` as people run it: settings, what engines are told, and real runs that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import small_project as small
from tacit.cli import main
from tacit.errors import DataError, EngineError
from tacit.live.streams.flink import install, python_of
from tacit.live.streams.lanes import counted
from tacit.project import Project
from tacit.project.settings import read_settings
from tacit.project.streaming import on_spark
from tacit.values import SECOND

FOLDER = """
[stream]
shards = 4
every = "1s"

[stream.sources.visits]
folder = "incoming"
ids = "visit"
"""
KAFKA = """
[stream.sources.visits]
kafka = "one:9092,two:9092"
topic = "site's visits"
properties = { "security.protocol" = "SASL_SSL", "sasl.jaas.config" = "env:KAFKA_JAAS" }
options = { "a.b" = "c" }
"""
HOME = Path(os.environ.get("TACIT_FLINK", Path(__file__).parents[2] / ".venv" / "flink"))


def test_what_engines_are_told_of_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small.write(tmp_path, settings=small.SETTINGS + KAFKA)
    assert main(["stream", str(tmp_path), "--engine", "spark", "--show"]) == 1
    assert "T413" in capsys.readouterr().err
    monkeypatch.setenv("KAFKA_JAAS", "user and 'password'")
    assert main(["stream", str(tmp_path), "--engine", "spark", "--show"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines() == [
        "kafka.bootstrap.servers = one:9092,two:9092",
        "subscribe = site's visits",
        "startingOffsets = earliest",
        "kafka.security.protocol = SASL_SSL",
        "kafka.sasl.jaas.config = Secret(19 bytes)",
        "a.b = c",
    ]
    assert main(["stream", str(tmp_path), "--engine", "flink", "--show"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        """CREATE TABLE events (
  line BYTES
) WITH (
  'connector' = 'kafka',
  'properties.bootstrap.servers' = 'one:9092,two:9092',
  'topic' = 'site''s visits',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'raw',
  'properties.security.protocol' = 'SASL_SSL',
  'properties.sasl.jaas.config' = 'Secret(19 bytes)',
  'a.b' = 'c'
);
CREATE TABLE segments ("""
    )
    assert "INSERT INTO segments" in told
    # What the engines themselves get has the secret.
    from tacit.live.streams.flink_sql import statements
    from tacit.live.streams.messages import spark_options

    project = Project.load(tmp_path)
    messages, feed = project.settings.stream.sources["visits"], project.online.source("visits").feed
    assert spark_options(messages)["kafka.sasl.jaas.config"] == "user and 'password'"
    assert "'user and ''password'''" in statements(feed, messages, tmp_path, 4)[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[stream]\nshards = 0\n", "`shards`"),
        ("[stream]\nshards = 257\n", "`shards`"),
        ("[stream]\nevery = 5\n", "wrong kind"),
        ("[stream]\nlanes = 5\n", "settings that there are not"),
        ('[stream.sources.visits]\nkafka = "a:1"\n', "neither a folder nor a topic"),
        ('[stream.sources.visits]\nfolder = "a"\ntopic = "b"\n', "neither a folder nor a topic"),
        ('[stream.sources.visits]\nfolder = "a"\nkafka = "b"\ntopic = "c"\n', "neither"),
        ('[stream.sources.visits]\nfolder = "a"\nproperties = { a = "b" }\n', "neither"),
        ('[stream.sources.visits]\nfolder = "a"\noptions = { a = 1 }\n', "neither"),
        ('[stream.sources.visits]\nredis = "redis://a"\n', "nor a stream of Redis"),
        ('[stream.sources.visits]\nredis = "redis://a"\nstream = ""\n', "nor a stream of Redis"),
        ('[stream.sources.visits]\nnats = "nats://a"\nstream = "S"\n', "or of NATS"),
        (
            '[stream.sources.visits]\nredis = "redis://a"\nstream = "s"\nsubject = "t"\n',
            "nor a stream of Redis",
        ),
        (
            '[stream.sources.visits]\nredis = "redis://a"\nfolder = "f"\nstream = "s"\n',
            "neither a folder",
        ),
        ("[stream.flink]\njars = 7\n", "[stream.flink]"),
        ('[stream.flink]\nplace = "a"\n', "[stream.flink]"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, says: str) -> None:
    small.write(tmp_path, settings=small.SETTINGS + text)
    with pytest.raises(DataError) as refused:
        read_settings(tmp_path)
    assert refused.value.code == "T311"
    assert says in str(refused.value)


def test_who_reads_is_named_for_the_project_and_the_source(tmp_path: Path) -> None:
    """Two projects, or two sources, in one group would each have a part of the messages."""
    text = '[stream.sources.visits]\nnats = "nats://a"\nstream = "S"\nsubject = "s.>"\n'
    shop = small.SETTINGS.replace('name = "shop"', 'name = "the shop, 2.0"')
    small.write(tmp_path, settings=shop + text)
    queue = read_settings(tmp_path).stream.sources["visits"].queue
    assert queue is not None
    assert queue.group == "tacit-the_shop__2_0-visits"  # NATS knows no spaces or dots in one
    small.write(tmp_path, settings=shop + text + 'group = "mine"\n')
    queue = read_settings(tmp_path).stream.sources["visits"].queue
    assert queue is not None
    assert queue.group == "mine"


def test_streams_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write(tmp_path / "none")
    assert main(["stream", str(tmp_path / "none"), "--engine", "flink"]) == 1
    assert "T419" in capsys.readouterr().err
    small.write(tmp_path / "a", settings=small.SETTINGS + FOLDER)
    assert main(["stream", str(tmp_path / "a"), "--engine", "flink", "--source", "history"]) == 1
    assert "T419" in capsys.readouterr().err
    assert main(["stream", str(tmp_path / "a"), "--engine", "flink", "--once"]) == 1
    told = capsys.readouterr().err
    assert "T416" in told
    assert "--setup" in told
    device = FOLDER.replace("visits", "history")
    small.write(tmp_path / "device", settings=small.SETTINGS + device)
    assert main(["stream", str(tmp_path / "device"), "--engine", "spark"]) == 1
    assert "T392" in capsys.readouterr().err  # it stays on its device
    cluster = '[engines.spark]\nmaster = "spark://head:7077"\n'
    small.write(tmp_path / "cluster", settings=small.SETTINGS + FOLDER + cluster)
    with pytest.raises(EngineError) as refused:
        on_spark(Project.load(tmp_path / "cluster"), "visits")
    assert refused.value.code == "T418"


# ---------------------------------------------------------------------- real runs


def deliver(folder: Path, rows: list[dict[str, Any]], size: int) -> None:
    """Files with some rows twice, some poison; aside first."""
    folder.mkdir()
    rng = random.Random(6)
    for number, a in enumerate(range(0, len(rows), size)):
        lines = [json.dumps(row) for row in rows[a : a + size]]
        lines += [json.dumps(row) for row in rng.sample(rows[: a + size], 5)] + ["poison"]
        aside = folder / f".{number:03}"
        aside.write_text("".join(f"{line}\n" for line in lines))
        aside.rename(folder / f"{number:03}.jsonl")


def start(folder: Path, engine: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tacit.cli", "stream", str(folder), "--engine", engine]
    with (folder / f"{engine}.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--once", "--idle", "6"], stdout=log, stderr=log, start_new_session=True
        )


def in_the_middle(project: Project, shards: int) -> bool:
    """Whether some lanes of a batch of Spark are in, and others are not."""
    stands = project.online.standing("visits").streams.get("spark", {})
    if not stands.get("open") or not stands["number"]:
        return False
    floors = [project.online.mark("visits", f"spark/{s}").floor for s in range(shards)]
    done = [floor == (stands["number"],) for floor in floors]
    return any(done) and not all(done)


def between(project: Project, number: int) -> bool:
    stands = project.online.standing("visits").streams.get("spark", {})
    return bool(stands) and not stands["open"] and stands["number"] >= number


def some_are_in(project: Project, least: int) -> bool:
    return counted(project.online, "visits")["accepted"] >= least


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["spark", "flink"])
def test_a_stream_that_is_killed_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, engine: str
) -> None:
    where = FOLDER
    if engine == "spark":
        where += 'options = { maxFilesPerTrigger = "2" }\n[engines.spark]\nmaster = "local[2]"\n'
    else:
        try:
            python_of(HOME)
        except EngineError:
            install(HOME)
        where += f'[stream.flink]\nhome = "{HOME}"\noptions = {{ "parallelism.default" = "2" }}\n'
    small.write(tmp_path / "a", settings=small.SETTINGS + where)
    project = Project.load(tmp_path / "a")
    rows = small.visits(4000, project.now())
    deliver(tmp_path / "a" / "incoming", rows, 250)
    kills = [lambda: some_are_in(project, 300)]
    if engine == "spark":
        kills = [lambda: in_the_middle(project, 4), lambda: between(project, 4)]
    for now in kills:
        process = start(tmp_path / "a", engine)
        while not now():
            assert process.poll() is None, (tmp_path / "a" / f"{engine}.log").read_text()[-3000:]
            time.sleep(0.002)
        if engine == "spark":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # Flink ends by itself when nobody reads what it writes
        process.wait()
        assert not some_are_in(project, len(rows))
    last = start(tmp_path / "a", engine)
    assert last.wait() == 0, (tmp_path / "a" / f"{engine}.log").read_text()[-3000:]
    pushed = small.project(tmp_path / "b")
    pushed.push("visits", rows, ids="visit")
    told = counted(project.online, "visits")
    assert told["accepted"] == len(rows)
    assert told["duplicates"] == 16 * 5
    assert told["quarantined"] == 16
    assert {why.partition(":")[0] for _, why, _ in project.online.quarantined("visits")} == {
        "not JSON"
    }
    people = {"person": [f"p{i:03}" for i in range(41)]}
    for back in (0, 1, 12345):
        at = project.now() - back * SECOND
        found, wanted = (
            each.lookup(["looks", "last"]).many(people, at, now=project.now())
            for each in (project, pushed)
        )
        assert found.columns == wanted.columns
        assert (found.status == wanted.status).all()
