"""Two instructions that Python has no words for: an unaligned load, and a prefetch."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _load_eight(typing: Any, address: Any) -> Any:
    """The eight bytes at an address, aligned or not, as a little-endian number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        found = builder.load(pointer)
        found.align = 1
        return found

    return types.uint64(types.uintp), generate


def _fetch(typing: Any, address: Any) -> Any:
    """Brings the cache line at an address near, for reading, and does not wait for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        pointer = builder.inttoptr(arguments[0], byte)
        builder.call(call, [pointer, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


load: Any = intrinsic(_load_eight)
fetch: Any = intrinsic(_fetch)
