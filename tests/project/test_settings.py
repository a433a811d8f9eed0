"""Every wrong setting is told with its place and its mend; so is a module that is none."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import small_project as small
from tacit.errors import DataError, DeclarationError, EngineError, TacitError
from tacit.project import Project
from tacit.project.settings import KEYS, read_settings

GOOD = 'name = "shop"\n[sources.history]\npath = "h.parquet"\ncolumns = { item = "StockCode" }\n'


def settings(folder: Path, text: str | bytes) -> DataError:
    (folder / "tacit.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as refused:
        read_settings(folder)
    return refused.value


def test_what_is_said_is_read(tmp_path: Path) -> None:
    (tmp_path / "tacit.toml").write_text("as_of = 1970-01-01T00:00:01Z\n" + GOOD)
    found = read_settings(tmp_path)
    assert (found.name, found.module, found.as_of) == ("shop", tmp_path / "signals.py", 1_000_000)
    assert found.sources["history"].path == tmp_path / "h.parquet"
    assert found.sources["history"].columns == {"item": "StockCode"}
    (tmp_path / "tacit.toml").write_text(GOOD)
    assert read_settings(tmp_path).as_of is None


@pytest.mark.parametrize(
    ("text", "says", "mend"),
    [
        ("", "does not name the project", "name ="),
        ('name = ""', "does not name the project", "name ="),
        ("name = 7", "does not name the project", "name ="),
        ('name = "a"\nmodule = 7', "`module`", "signals.py"),
        ('name = "a"\nas_of = "2026"', "`as_of`", "2026-01-01"),
        ('name = "a"\nas_of = 2026-01-01', "`as_of`", "2026-01-01"),
        ('name = "a"\nas-of = 7', "unknown setting 'as-of'", "'as_of'"),
        ('name = "a"\nepsilon = 7', "unknown setting 'epsilon'", "use name, module"),
        ('name = "a"\nsources = 7', "`sources`", "[sources.NAME]"),
        ('name = "a"\nsources.history = 7', "[sources.history]", "path ="),
        ('name = "a"\n[sources.history]\npaths = "x"', "[sources.history]", "path ="),
        ('name = "a"\n[sources.history]\npath = 7', "[sources.history]", "path ="),
        ('name = "a"\n[sources.history]\npath = "x"\nother = 1', "[sources.history]", "path ="),
        ('name = "a"\n[sources.history]\npath = "x"\ncolumns = 7', "[sources.history]", "columns"),
        ('name = "a"\n[sources.h]\npath = "x"\ncolumns = {a = 7}', "[sources.h]", "columns"),
        ('name = "a"\n[sources.h]\nunit = "minutes"', "[sources.h]", '"ms"'),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, text: str, says: str, mend: str) -> None:
    error = settings(tmp_path, text)
    assert error.code == "T311"
    assert says in error.message
    assert mend in error.fix
    assert error.where == str(tmp_path / "tacit.toml")


@pytest.mark.parametrize("text", ['name = "a"\nname = "b"', "name = shop", "[", b"\xff\xfe"])
def test_settings_that_are_no_toml(tmp_path: Path, text: str | bytes) -> None:
    error = settings(tmp_path, text)
    assert error.code == "T311"
    assert error.where is not None
    if isinstance(text, str):
        assert error.where.endswith(f"tacit.toml:{text.count(chr(10)) + 1}")


def test_folders_that_are_no_project(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(DataError) as refused:
            Project.load(folder)
        assert refused.value.code == "T310"


def test_a_binding_of_nothing_declared(tmp_path: Path) -> None:
    for text, close in (
        ("[sources.historie]\npath = 'x'\n", "'history'"),
        ("[sources.discover]\npath = 'x'\n", "use catalogue, history, visits"),
    ):
        with pytest.raises(DataError) as refused:
            small.project(tmp_path, settings=small.SETTINGS + text)
        assert refused.value.code == "T311"
        assert close in refused.value.fix
    wrong = small.SETTINGS.replace(
        'path = "catalogue.parquet"', 'path = "catalogue.parquet"\ncolumns = { titel = "x" }'
    )
    with pytest.raises(DataError, match="'titel'") as refused:
        small.project(tmp_path, settings=wrong)
    assert "'title'" in refused.value.fix


# ---------------------------------------------------------------------- the module


def module(folder: Path, text: str, **others: str) -> TacitError:
    for name, body in others.items():
        (folder / f"{name}.py").write_text(body)
    with pytest.raises(TacitError) as refused:
        small.project(folder, text)
    return refused.value


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("import tacit\nx = (1,\n", 2, "never closed"),
        ("import tacit\n\nx = 1 / 0\n", 3, "ZeroDivisionError"),
        ("def f():\n    raise KeyError('no')\n\nf()\n", 2, "KeyError"),
        ("import nothing_of_that_name\n", 1, "ModuleNotFoundError"),
        ("from tacit import Signals\n", 1, "cannot import name 'Signals'"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
        ("from tacit import Entity\nEntity(doc=1, colour=2)\n", 2, "unexpected keyword"),
        ("def f():\n    f()\nf()\n", 2, "RecursionError"),
    ],
)
def test_modules_that_fail(tmp_path: Path, text: str, line: int, says: str) -> None:
    error = module(tmp_path, text)
    assert isinstance(error, DeclarationError)
    assert error.code == "T120"
    assert error.where == f"{tmp_path / 'signals.py'}:{line}"
    assert says in error.message


def test_a_module_beside_that_fails_is_the_place(tmp_path: Path) -> None:
    error = module(tmp_path, "import helper\n", helper="a = 1\nb = a +\n")
    assert error.where == f"{tmp_path / 'helper.py'}:2"
    error = module(tmp_path, "import helper\n", helper="a = 1\nb = a / 0\n")
    assert error.where == f"{tmp_path / 'helper.py'}:2"


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    small.write(tmp_path, settings='module = "other.py"\n' + small.SETTINGS)
    with pytest.raises(DeclarationError) as refused:
        Project.load(tmp_path)
    assert refused.value.code == "T120"
    assert "other.py" in str(refused.value.where)


def test_projects_do_not_share_modules(tmp_path: Path) -> None:
    """Two projects may each have a `helper.py`."""
    path = list(sys.path)
    for name in ("one", "two"):
        folder = small.write(tmp_path / name, small.SIGNALS + "\nfrom helper import entity\n")
        (folder / "helper.py").write_text(
            f'from tacit import Entity\nentity = Entity("{name}", name="{name}")\n'
        )
        assert name in Project.load(folder).declarations.named
    assert "helper" not in sys.modules
    assert sys.path == path


def test_threads_may_load_projects_at_once(tmp_path: Path) -> None:
    """Each its own, though their modules have one name."""

    def looks(number: int) -> str:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "beside.py").write_text(f"DOC = 'It is {number}.'")
        (tmp_path / str(number) / "signals.py").write_text(
            "from tacit import Entity\nfrom beside import DOC\nperson = Entity(DOC)\n"
        )
        (tmp_path / str(number) / "tacit.toml").write_text('name = "shop"\n')
        return Project.load(tmp_path / str(number)).declarations.named["person"].doc

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(looks, range(60)))
    assert found == [f"It is {number}." for number in range(60)]


def test_the_engine_of_the_cloud_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "tacit.toml").write_text(
        'engine = "spark"\n' + GOOD + '[engines.spark]\nmaster = "local[1]"\nspark.a.b = "c"\n'
    )
    engine = read_settings(tmp_path).engine
    assert engine.name == "spark"
    assert engine.options == {"master": "local[1]", "spark": {"a": {"b": "c"}}}
    (tmp_path / "tacit.toml").write_text(GOOD)
    assert read_settings(tmp_path).engine.start().name == "local"


@pytest.mark.parametrize(
    ("text", "says", "mend"),
    [
        ('engine = "sqlite"', "no engine 'sqlite'", "use local, spark"),
        ("engine = 7", "no engine 7", "use local, spark"),
        ("engines = 7", "`engines`", "[engines.NAME]"),
        ('engines = { spark = "x" }', "`engines`", "[engines.NAME]"),
        ("engines = { flink = {} }", "`engines`", "[engines.NAME]"),
    ],
)
def test_engines_that_are_wrong(tmp_path: Path, text: str, says: str, mend: str) -> None:
    error = settings(tmp_path, f'name = "a"\n{text}')
    assert error.code == "T311"
    assert says in error.message
    assert mend in error.fix


def test_the_local_engine_has_no_settings(tmp_path: Path) -> None:
    (tmp_path / "tacit.toml").write_text(GOOD + "[engines.local]\nthreads = 4\n")
    with pytest.raises(EngineError) as refused:
        read_settings(tmp_path).engine.start()
    assert refused.value.code == "T412"


PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^## (?:`\[(.+?)\]`)?.*$", re.MULTILINE)
ROW = re.compile(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def written() -> dict[str, dict[str, tuple[str, ...]]]:
    """Table of the file → key → what the page says of its type, default and meaning."""
    parts = HEADING.split(PAGE)[1:]
    return {
        table or "": {key: rest for key, *rest in ROW.findall(text)}
        for table, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_page_has_every_key_and_no_other() -> None:
    found, known = written(), KEYS
    lacking = [
        f"[{t}] {key}" for t, keys in known.items() for key in keys if key not in found.get(t, ())
    ]
    unknown = [
        f"[{t}] {key}" for t, keys in found.items() for key in keys if key not in known.get(t, ())
    ]
    assert not lacking, f"docs/settings.md has no row for these keys of settings.KEYS: {lacking}"
    assert not unknown, f"docs/settings.md has keys that settings.KEYS has not: {unknown}"
    assert all(len(cell) > 1 for keys in found.values() for rest in keys.values() for cell in rest)


def test_settings_know_the_keys_that_they_name(tmp_path: Path) -> None:
    """`KEYS` is no second list beside the one that is read: what it has is taken or refused for its
    value, what it has not is refused by name or table."""
    tables = {table.partition(".")[0] for table in KEYS if table}
    for name in (*KEYS[""], *tables):
        (tmp_path / "tacit.toml").write_text(f'name = "a"\n{name}_ = 1\n')
        with pytest.raises(DataError, match=f"unknown setting '{name}_'"):
            read_settings(tmp_path)
    for name in (*KEYS[""][2:], *tables):
        assert "unknown" not in settings(tmp_path, f'name = "a"\n{name} = 1\n').message


def test_the_pages_example_is_read(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "tacit.toml").write_text(example)
    found = read_settings(tmp_path)
    assert found.sources["visits"].unit == "ms"
    assert found.online.baseline == ("orders",)
