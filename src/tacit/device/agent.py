"""The agent: what runs on a device, over its own vault.

It does three things, and nothing leaves the device but the second. It keeps events. It answers a
signed task, once per epoch and only for purposes its person consented to, with a report that no
party can read alone. It installs signed bundles and ranks from its own history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlcipher3

from tacit.device import cipher
from tacit.device.bundle import Bundle, open_bundle
from tacit.device.contribution import Contribution, contribute
from tacit.device.keys import PublicKey
from tacit.device.program import Program
from tacit.device.rank import Ranked, Ranker, load_ranker
from tacit.device.task import Task, load_task
from tacit.device.vault import Vault
from tacit.errors import DataError, PrivacyError
from tacit.privacy.histogram import Histogram
from tacit.privacy.mechanism import Report
from tacit.privacy.randomness import Randomness


class Agent:
    """A device's side of a project.

    Args:
        vault: the device's own, open.
        person: the key of the person whose device this is, of its column's type.
        project: the project it belongs to; bundles of others are refused.
        trusted: the key that bundles must be signed with, pinned when the app was installed.
    """

    def __init__(self, vault: Vault, person: str | int, project: str, trusted: PublicKey) -> None:
        self.vault = vault
        self._person = person
        self._project = project
        self._trusted = trusted

    # ------------------------------------------------------------------ consent

    def consent(self, purposes: Sequence[str]) -> None:
        """Sets the purposes that the person consents to; all others are refused from now on."""
        self.vault.set_meta("consent", sorted(purposes))

    @property
    def consented(self) -> frozenset[str]:
        """The purposes consented to; none until `consent` is called."""
        return frozenset(self.vault.meta("consent", ()))

    # ------------------------------------------------------------------ contributing

    def open_task(self, path: Path, now: int) -> Task:
        """A verified task. Raises BundleError for one that is not to be trusted."""
        return load_task(self._open(path, now, at_least_version=0))

    def contribute(self, task: Task, now: int, randomness: Randomness | None = None) -> Report:
        """The device's one report to a task; its vault notes the spend before this returns.

        Asked again before it knows that the report arrived (see `install`), it gives the same one:
        the same bytes under the same id, whatever it has lived through since. Raises PrivacyError
        T542 without consent, T540 when it has contributed and there is nothing to send again, T547
        when the device's own filter of an epoch is spent.
        """
        self._check_consent(task.purposes, f"task {task.release}")
        again = self._unsent(task)
        if again is not None:
            return again
        answer = self.answer(task, now)
        report, contribution = contribute(task.mechanism, answer, task.expires, randomness)
        self.vault.spend(task.release, task.epoch, contribution.to_bytes(), task.charge)
        return report

    def answer(self, task: Task, now: int) -> Histogram:
        """What the device's own rows say to the task, over its public domain. Never leaves it."""
        found = self._run(task.program, now)
        return task.histogram(found[task.signal])

    def _unsent(self, task: Task) -> Report | None:
        for release, epoch, raw in self.vault.unsent():
            if (release, epoch) == (task.release, task.epoch):
                return Contribution.from_bytes(raw).report(task.mechanism)
        return None

    # ------------------------------------------------------------------ ranking

    def install(self, path: Path, now: int) -> Bundle:
        """Verifies a model bundle and takes it into use, unless it is in use already.

        A model of a release says that the release arrived: what was kept to send it again is
        dropped. Raises BundleError for a bundle that is tampered with, truncated, expired, of
        another project, no model (T629), or older than what is installed (T625).
        """
        place = Path(os.path.abspath(path))
        # Which model it is decides which version is old; nothing is believed of the first reading.
        name = self._open(place, now, at_least_version=0).manifest.name
        installed = self._installed()
        held = installed.get(name, {"version": 0})["version"]
        bundle = self._open(place, now, at_least_version=int(held))
        load_ranker(bundle)
        manifest = bundle.manifest
        taken = {"version": manifest.version, "path": str(place)}
        if installed.get(manifest.name) != taken:
            self.vault.set_meta("installed", {**installed, manifest.name: taken})
        arrived = set(manifest.contents["releases"])
        for release, epoch, _ in self.vault.unsent():
            if release in arrived:
                self.vault.sent(release, epoch)
        return bundle

    def rank(self, ranker: Ranker, now: int, count: int = 10) -> list[Ranked]:
        """The items that fit the device's own history best, each with the reason for it.

        Raises PrivacyError T542 without consent to what the model is for.
        """
        self._check_consent(ranker.purposes, "ranking")
        found = self._run(ranker.program, now)
        return ranker.rank(found[ranker.signal], count)

    def ranker(self, model: str, now: int) -> Ranker:
        """The installed model's ranker; the bundle is verified again each time it is opened.

        Raises DataError T314 when no such model is installed.
        """
        installed = self._installed()
        if model not in installed:
            raise DataError(
                f"no model {model!r} is installed on this device",
                code="T314",
                where="the device's vault",
                fix=f"install a bundle of it; installed: {', '.join(sorted(installed)) or 'none'}",
            )
        version = int(installed[model]["version"])
        path = Path(installed[model]["path"])
        return load_ranker(self._open(path, now, at_least_version=version))

    def _run(self, program: Program, now: int) -> dict[str, Any]:
        try:
            self._forget(program, now)
            return program.run(self.vault.connection, self._person, now)
        except sqlcipher3.Error as error:
            raise cipher.refused(error, self.vault._path) from None

    def _forget(self, program: Program, now: int) -> None:
        """Erases what may not be kept any longer, and answers that nobody may ask for again."""
        for table, length in program.keep.items():
            oldest = self.vault.oldest(table)
            if oldest is not None and oldest < now - length:
                self.vault.forget(table, before=now - length)
        for release, epoch, raw in self.vault.unsent():
            if Contribution.from_bytes(raw).until <= now:
                self.vault.sent(release, epoch)

    def _check_consent(self, purposes: Iterable[str], where: str) -> None:
        missing = frozenset(purposes) - self.consented
        if missing:
            raise PrivacyError(
                f"no consent to {', '.join(sorted(missing))}",
                code="T542",
                where=where,
                fix="ask the person, or leave this device out",
            )

    def _installed(self) -> dict[str, Mapping[str, Any]]:
        return dict(self.vault.meta("installed", {}))

    def _open(self, path: Path, now: int, *, at_least_version: int) -> Bundle:
        return open_bundle(
            path, self._trusted, project=self._project, now=now, at_least_version=at_least_version
        )
