"""The wire versions of VDAF, and everything in which they differ.

Version 18 is the one of draft-irtf-cfrg-vdaf-18, -19 and -20, and the default. Version 8 is the one
of draft 08, which older clients still speak. "§" in this folder names a section of draft 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tacit.errors import PrivacyError

NONCE_BYTES: Final = 16
EXPERIMENTAL_ID: Final = 0xFFFFFFFF  # variants that have no code point


class Usage(IntEnum):
    """What an XOF's output is for; part of its domain separation tag (§7.2, table 8)."""

    MEAS_SHARE = 1
    PROOF_SHARE = 2
    JOINT_RANDOMNESS = 3
    PROVE_RANDOMNESS = 4
    QUERY_RANDOMNESS = 5
    JOINT_RAND_SEED = 6
    JOINT_RAND_PART = 7


@dataclass(frozen=True, slots=True)
class Profile:
    """One wire version.

    `seed_bytes`: the XOF's seed, and so the verification key and the blinds. `tag_length_bytes`
    and `seed_prefixed`: how the XOF frames its inputs. `has_context`: tags carry the application's
    context. `helper_seeds`: a helper's measurement and proof come from 1 seed or from 2.
    `evaluations`: gadget polynomials travel as values at roots of unity, not as coefficients.
    `own_randomness`: each chunk has its own joint randomness, and outputs are reduced by the
    verifiers' randomness; otherwise both come from one or two joint elements.
    """

    version: int
    seed_bytes: int
    tag_length_bytes: int
    seed_prefixed: bool
    has_context: bool
    helper_seeds: int
    evaluations: bool
    own_randomness: bool
    ids: Mapping[str, int]

    def tag(self, algorithm: int, usage: Usage, context: bytes) -> bytes:
        """The domain separation tag of §6.2.3; `context` is empty where the version has none."""
        return (
            bytes((self.version, 0))
            + algorithm.to_bytes(4, "big")
            + int(usage).to_bytes(2, "big")
            + context
        )

    def check_context(self, context: bytes) -> None:
        """Raises PrivacyError T550 for a context that this version cannot carry."""
        if not self.has_context and context:
            raise PrivacyError(
                f"VDAF version {self.version} has no application context",
                code="T550",
                fix="pass an empty context, or use version 18",
            )
        if len(context) > 0xFFFF - 8:
            raise PrivacyError(
                f"an application context of {len(context)} bytes is too long",
                code="T550",
                fix="keep it below 65,528 bytes",
            )


_V18 = Profile(
    version=18,
    seed_bytes=32,
    tag_length_bytes=2,
    seed_prefixed=True,
    has_context=True,
    helper_seeds=1,
    evaluations=True,
    own_randomness=True,
    ids={"count": 1, "sum": 2, "sum_vec": 3, "histogram": 4, "multihot_count_vec": 5},
)
_V08 = Profile(
    version=8,
    seed_bytes=16,
    tag_length_bytes=1,
    seed_prefixed=False,
    has_context=False,
    helper_seeds=2,
    evaluations=False,
    own_randomness=False,
    ids={"count": 0, "sum": 1, "sum_vec": 2, "histogram": 3},
)
PROFILES: Final[Mapping[int, Profile]] = {18: _V18, 8: _V08}


def profile(version: int) -> Profile:
    """The profile of a wire version. Raises PrivacyError T550 for one that is not spoken here."""
    if version not in PROFILES:
        raise PrivacyError(
            f"VDAF version {version} is not spoken here",
            code="T550",
            fix=f"use one of: {', '.join(map(str, PROFILES))}",
        )
    return PROFILES[version]
