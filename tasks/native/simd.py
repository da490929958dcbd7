"""Eight float32 numbers at once inside numba functions.

numba leaves vectorisation to LLVM, which gives up where it cannot prove arrays apart. Here vectors are in the
code: each operation below is one LLVM instruction on `<8 x float>`, rounded as IEEE 754 says and never contracted, so
that every processor gives the same bits; one without AVX runs it as two halves.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
LANES = 8
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_INDICES = ir.VectorType(ir.IntType(32), LANES)

# Without wrappers for Python, LLVM optimises each function where it ends up and not on its own as well.
_OPTIONS = {"error_model": "numpy", "nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile a function of the kernel: no fast-math, division by zero gives infinity, called by compiled code only."""
    return cast(Function, njit(**_OPTIONS)(function))


def inline(function: Function) -> Function:
    """Compile a function that takes or returns vectors: inlined, because a call would pass them through memory."""
    return cast(Function, njit(forceinline=True, **_OPTIONS)(function))


@jit
def blocks(width: int) -> int:
    """Return the number of vectors that cover a line."""
    return (width + LANES - 1) // LANES


class Vector(types.Type):  # type: ignore[misc]
    """A value held in one register: eight floats, or eight truths."""


floats, truths = Vector("float32x8"), Vector("boolx8")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, _FLOATS if kind is floats else _BITS)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, what: Any = _FLOATS) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), what.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """array[index : index + 8] of a flat float32 array, from any index; the caller keeps it inside."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *args), align=4)

    return floats(array, types.intp), emit


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 8] = value."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, floats), emit


@intrinsic
def load_bytes(typing: Any, array: Any, index: Any) -> Any:
    """array[index : index + 8] of a flat uint8 array, as floats."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1], _BYTES)
        return builder.uitofp(builder.load(address, align=1), _FLOATS)

    return floats(array, types.intp), emit


@intrinsic
def store_bytes(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 8] = value of a flat uint8 array; numbers in [0, 256), rounded down."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1], _BYTES)
        builder.store(builder.fptoui(args[2], _BYTES), address, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, floats), emit


@intrinsic(prefer_literal=True)
def rotate(typing: Any, value: Any, by: Any) -> Any:
    """Lanes from the constant `by` on, then those before it."""
    count = by.literal_value

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        order = [(i + count) % LANES for i in range(LANES)]
        return builder.shuffle_vector(args[0], args[0], ir.Constant(_INDICES, order))

    return floats(floats, by), emit


@intrinsic
def splat(typing: Any, number: Any) -> Any:
    """Fill all lanes with a float32."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, first, ir.Constant(_INDICES, [0] * LANES))

    return floats(types.float32), emit


@intrinsic
def lane(typing: Any, value: Any, index: Any) -> Any:
    """Return one of the eight numbers."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], builder.trunc(args[1], ir.IntType(32)))

    return types.float32(floats, types.intp), emit


@intrinsic
def pack(typing: Any, condition: Any) -> Any:
    """Eight truths as the low bits of a whole number, the first lane lowest."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(truths), emit


@intrinsic
def select(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Lane by lane `yes` where the condition holds, `no` elsewhere."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return floats(truths, floats, floats), emit


def _binary(build: Callable[[Any, Any, Any], Any], result: Vector = floats, operand: Vector = floats) -> Any:
    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return build(builder, *args)

        return result(operand, operand), emit

    return operation


def _unary(name: str) -> Any:
    @intrinsic
    def operation(typing: Any, a: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(_FLOATS, [_FLOATS])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
            return builder.call(function, args)

        return floats(floats), emit

    return operation


less = _binary(lambda builder, a, b: builder.fcmp_ordered("<", a, b), truths)
equal = _binary(lambda builder, a, b: builder.fcmp_ordered("==", a, b), truths)
both = _binary(lambda builder, a, b: builder.and_(a, b), truths, truths)
minimum = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
maximum = _binary(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
sqrt, floor = _unary("sqrt"), _unary("floor")


def _operator(symbol: Callable[[Any, Any], Any], build: Callable[[Any, Any, Any], Any]) -> None:
    operation = _binary(build)

    @overload(symbol)
    def _choose(a: Any, b: Any) -> Any:
        def apply(a: Any, b: Any) -> Any:
            return operation(a, b)

        return apply if a is floats and b is floats else None


_operator(operator.add, lambda builder, a, b: builder.fadd(a, b))
_operator(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_operator(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_operator(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
