"""Streams past one machine: engines deal events to lanes by key, lanes keep the states up
(docs/live.md)."""
