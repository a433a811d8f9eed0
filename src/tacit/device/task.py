"""A task: what a device is asked to contribute, as a signed bundle that carries all it needs.

It holds the SQL of the device-placed part of the plan, the public domain, and the mechanism with
its public parameters. A device needs no other word of the project to answer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from tacit.device.bundle import Bundle
from tacit.device.epochs import Charge
from tacit.device.program import Program
from tacit.errors import BundleError, PrivacyError
from tacit.privacy.histogram import Histogram
from tacit.privacy.mechanism import Mechanism, mechanism

KIND = "task"


@dataclass(frozen=True, slots=True)
class Task:
    """A verified task.

    Attributes:
        release, epoch: what is asked; a device answers each pair once.
        purposes: what the result is for; the person must have consented to all of them.
        signal, program: the signal that is contributed, and the SQL that computes it.
        domain: item to code; what lies outside it is not sent.
        mechanism: bounds, encodes and shares the answer.
        expires: when devices stop answering it; microseconds, UTC.
        charge: what answering it costs of the person's epochs, where there are any.
    """

    release: str
    epoch: int
    purposes: tuple[str, ...]
    signal: str
    program: Program
    domain: Mapping[str, int]
    mechanism: Mechanism[Any]
    expires: int
    charge: Charge | None = None

    def __post_init__(self) -> None:
        if self.epoch < 0:
            raise ValueError("an epoch is 0 or more")
        if not self.purposes:
            raise ValueError("it is for no purpose, so nobody can have consented to it")

    def histogram(self, found: Mapping[str, float | None] | str | None) -> Histogram:
        """The answer over the public domain, by ascending code; one text counts as one of itself.

        An item without an amount (the sum of nulls), or with one that is not finite, is not there.
        """
        if not isinstance(found, Mapping):
            found = {} if found is None else {found: 1.0}
        pairs = sorted(
            (self.domain[key], amount)
            for key, amount in found.items()
            if key in self.domain and amount is not None and isfinite(amount)
        )
        codes = np.array([code for code, _ in pairs], np.int64)
        return Histogram(codes, np.array([amount for _, amount in pairs], np.float64))


def task_contents(
    release: str,
    epoch: int,
    purposes: tuple[str, ...],
    signal: str,
    program: Program,
    domain: list[str],
    chosen: Mechanism[Any],
    epochs: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents section and the files of a task's bundle. `epochs` is `device.epochs.asked`."""
    parameters, arrays = chosen.files()
    contents = {
        "kind": KIND,
        "release": release,
        "epoch": epoch,
        "purposes": list(purposes),
        "signal": signal,
        "mechanism": chosen.key,
        "arrays": sorted(arrays),
    } | ({} if epochs is None else {"epochs": dict(epochs)})
    files: dict[str, Any] = {"program.json": program.to_json(), "domain.json": domain}
    files["parameters.json"] = parameters
    files |= {f"{name}.npy": array for name, array in arrays.items()}
    return contents, files


def load_task(bundle: Bundle) -> Task:
    """The task that a verified bundle holds. Raises BundleError T629 for other contents."""
    contents = bundle.manifest.contents
    try:
        if contents["kind"] != KIND:
            raise ValueError(f"it is of kind {contents['kind']!r}")
        arrays = {name: bundle.array(f"{name}.npy") for name in contents["arrays"]}
        chosen = mechanism(contents["mechanism"]).from_files(bundle.json("parameters.json"), arrays)
        program = Program.from_json(bundle.json("program.json"))
        return Task(
            release=str(contents["release"]),
            epoch=int(contents["epoch"]),
            purposes=tuple(contents["purposes"]),
            signal=str(contents["signal"]),
            program=program,
            domain={str(item): code for code, item in enumerate(bundle.json("domain.json"))},
            mechanism=chosen,
            expires=bundle.manifest.expires,
            charge=Charge.of(contents["epochs"], chosen) if "epochs" in contents else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, PrivacyError) as error:
        raise BundleError(
            f"the bundle's contents do not make a task: {error}",
            code="T629",
            where=bundle.where,
            fix="build the task anew, with the version of Tacit that the devices have",
        ) from error
