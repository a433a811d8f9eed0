"""Where plan, engines, stores and ledger meet."""

from tacit.project.project import Project

__all__ = ["Project"]
