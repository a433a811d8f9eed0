"""The lower pass: hashes of meaning, by which plans are compared and results are reused.

The views of the build pass are already what engines run; here each node learns the hash of its
kind, its specification, what it mentions and its inputs. Sentences, owners, comments and lines
have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tacit.declare.arguments import plain
from tacit.plan.graph import Entry, Node, Plan
from tacit.values import fingerprint


def lower(plan: Plan) -> Plan:
    """Gives every entry of the vocabulary and every node its hash."""
    meanings = {e.id: fingerprint([e.kind, plain(e.spec)]) for e in plan.vocabulary.values()}
    nodes: dict[str, Node] = {}
    for node in plan.nodes.values():
        nodes[node.id] = Node(
            node.id,
            node.kind,
            node.declared,
            node.inputs,
            node.columns,
            node.spec,
            node.mentions,
            node.place,
            node.engine,
            _hash(node, nodes, meanings),
        )
    entries = {e.id: replace(e, hash=_hash_entry(e)) for e in plan.vocabulary.values()}
    return replace(plan, vocabulary=entries, nodes=nodes)


def _hash(node: Node, nodes: Mapping[str, Node], meanings: Mapping[str, str]) -> str:
    inputs = [nodes[name].hash for name in node.inputs]
    mentions = {name: meanings[name] for name in node.mentions}
    return fingerprint(
        [node.kind, plain(node.spec), mentions, str(node.place), node.engine, inputs]
    )


def _hash_entry(entry: Entry) -> str:
    return fingerprint([entry.kind, plain(entry.spec), plain(entry.budget)])
