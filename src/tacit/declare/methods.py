"""What `Events` inherits: a method for each aggregate. `methods.pyi` lists them for editors."""

from __future__ import annotations

from tacit.declare.signatures import METHODS, signal_method


class SignalMethods:
    """A method for each aggregate that there is; made from the aggregates themselves."""


for _each in METHODS:
    setattr(SignalMethods, _each.key, signal_method(_each))
