"""The catalog that knows the lake's tables: SQLite beside the project, or any that pyiceberg opens.

The default lies in `.tacit/lake/`: `catalog.sqlite`, and `warehouse/` with the tables. Iceberg's
metadata names files by absolute paths, so a project is moved with `ingest`, not with `mv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyiceberg.catalog import Catalog, load_catalog

from tacit.errors import DataError, TacitError
from tacit.store.atomic import make_folder
from tacit.store.files import first_line
from tacit.store.lake.files import IMPLEMENTATION
from tacit.store.lake.locks import exclusive

_PATIENCE = 60  # seconds that SQLite waits for another writer


def open_catalog(folder: Path, properties: Mapping[str, str], where: str) -> Catalog:
    """The catalog of a project. `properties` are pyiceberg's; empty for the default in `folder`.

    Raises DataError T710 for one that cannot be opened.
    """
    make_folder(folder).chmod(0o700)
    chosen = dict(properties)
    name = chosen.pop("catalog", "tacit")
    if not properties:
        chosen = {
            "type": "sql",
            "uri": f"sqlite:///{folder.resolve()}/catalog.sqlite?timeout={_PATIENCE}",
            "warehouse": (folder.resolve() / "warehouse").as_uri(),
        }
    chosen.setdefault("py-io-impl", IMPLEMENTATION)
    try:
        with exclusive(folder / "catalog.lock"):  # two that make its tables would collide
            catalog = load_catalog(name, **chosen)
    except TacitError:
        raise
    except Exception as error:
        raise DataError(
            f"the lake's catalog cannot be opened: {first_line(error)}",
            code="T710",
            where=where,
            fix="correct [lake] in tacit.toml: it has the properties of a pyiceberg catalog",
        ) from None
    with suppress(OSError):
        (folder / "catalog.sqlite").chmod(0o600)
    return catalog
