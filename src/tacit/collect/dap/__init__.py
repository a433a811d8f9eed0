"""The Distributed Aggregation Protocol (draft-ietf-ppm-dap-18), and its draft 09 for older clients.

::

    codec      TLS presentation language, strictly          messages   what the parties exchange
    draft18, draft09   the messages of a draft, in bytes    profile    which drafts there are
    errors     refusals, and their problem documents        task       what all parties agree on
    client     shards, seals and uploads measurements       sealing    opens shares, and checks them
    aggregator what leader and helper do alike              database   SQLite or PostgreSQL
    store      the durable state of both                    leader_store, helper_store   and of each
    leader     takes reports, drives jobs, collects         writer     groups uploads into commits
    helper     answers the leader                           driver     the leader's background work
    collector  asks for sums, and releases them             peer       requests to other parties
    routes     resources to handlers                        asgi       the same over HTTP
    settings   files of the parties                         serve      one party as a process

"§" in this folder names a section title of draft 18.
"""
