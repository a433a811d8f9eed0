"""What the demo keeps from the devices: the item that each person enjoyed last.

It is the question that the learners are scored on, so no device, no release and no learner may know
the answer: the rows of that person and item are taken out before the project is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tacit.demo.interactions import Interactions
from tacit.errors import DataError
from tacit.learn.split import Histories, Integers, histories, leave_last_out


@dataclass(frozen=True)
class Question:
    """What learners may know of a population, and what they are asked; all by code.

    Attributes:
        items, texts: the public catalogue.
        history: every person's distinct items, in order of time, without the answers.
        evaluated, target: people, and the item that each enjoyed last.
    """

    items: Sequence[str]
    texts: Sequence[str]
    history: Histories
    evaluated: Integers
    target: Integers

    @property
    def people(self) -> int:
        """How many there are, those who are not asked included."""
        return len(self.history.indptr) - 1


@dataclass(frozen=True)
class Holdout:
    """Interactions without the answers: `train` is what devices get; `people` are by code."""

    question: Question
    train: pa.Table
    people: Sequence[str]

    def someone(self) -> str:
        """A person of middling history: half of those asked have a longer one."""
        evaluated = self.question.evaluated
        lengths = np.diff(self.question.history.indptr)[evaluated]
        order = np.argsort(lengths, kind="stable")
        return self.people[int(evaluated[order[len(order) // 2]])]


def hold_out(interactions: Interactions) -> Holdout:
    """Takes the last item away from everybody with five earlier ones or more.

    Raises DataError T308 when there is nobody to ask.
    """
    rows, catalogue = interactions.history, interactions.catalogue
    person, people = _codes(rows.column("person"))
    item = pc.index_in(rows.column("item"), catalogue.column("item"))
    item = item.combine_chunks().fill_null(-1).to_numpy().astype(np.int64)
    at = rows.column("at").cast(pa.int64()).combine_chunks().to_numpy()
    enjoyed = rows.column("enjoyed").combine_chunks().to_numpy(zero_copy_only=False)
    counted = enjoyed & (item >= 0)
    full = histories(person[counted], item[counted], at[counted], len(people))
    items, texts = catalogue.column("item").to_pylist(), catalogue.column("title").to_pylist()
    question = ask(items, texts, full)
    if not len(question.evaluated):
        raise DataError(
            "nobody has six different items, so there is nobody to ask for the last of them",
            code="T308",
            where="the interactions",
            fix="give more rows, or check which columns are the user and the item",
        )
    answers = np.full(len(people), -2, np.int64)
    answers[question.evaluated] = question.target
    return Holdout(question, rows.filter(pa.array(item != answers[person])), people)


def ask(items: Sequence[str], texts: Sequence[str], full: Histories) -> Question:
    """The question that full histories give: the last item of everybody with five before it."""
    split = leave_last_out(full)
    kept = np.ones(len(full.codes), bool)
    kept[full.indptr[split.evaluated + 1] - 1] = False
    lengths = np.diff(full.indptr)
    lengths[split.evaluated] -= 1
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    history = Histories(bounds, full.codes[kept])
    return Question(items, texts, history, split.evaluated, split.target)


def _codes(column: pa.ChunkedArray) -> tuple[Integers, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
