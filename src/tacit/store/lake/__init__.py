"""The lake: rows of the cloud in Iceberg tables that other engines read, and that can forget.

In the order in which rows pass: `inputs` (files, in batches) → `moments`, `contract` (which rows
fit) → `quarantine` (those that do not) → `datafiles` (Parquet by bucket of the subject) → `table`
(commits) → `rows` (reading); and `rewrite`, `compact`, `purge` for what is kept no longer.
"""
