"""Products of int16 matrices in tiles that stay in registers, for functions compiled by numba.

Pairs of int16 are multiplied and added up in int32 by one instruction (`vpdpwssd` where the CPU has it),
twice as many at a time as in float32, and without rounding: the order of summation makes no difference.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rerankbench.engine.hardware import cpu_flags

LANES, OPERATOR = (
    (16, "llvm.x86.avx512.pmaddw.d.512") if "avx512bw" in cpu_flags() else (8, "llvm.x86.avx2.pmadd.wd")
)
ROWS, VECTORS = LANES // 2, 2  # of a tile: as many sums as half of the registers hold
COLUMNS = LANES * VECTORS

INT64, INT32, INT16 = ir.IntType(64), ir.IntType(32), ir.IntType(16)
SUMS, HALVES = ir.VectorType(INT32, LANES), ir.VectorType(INT16, 2 * LANES)


def tile_product(
    typing: Any, left: Any, row: Any, right: Any, block: Any, pairs: Any, start: Any, out: Any
) -> Any:
    """A tile of start + left @ right, of `ROWS` rows of `left` from `row` on and one block of columns.

    left: int16 [rows, 2 * pairs or more]; right: int32 [blocks, pairs or more, COLUMNS], each of them two
    int16 that belong to two neighbours in a row of `left`; start: int32 [blocks * COLUMNS]; out: int32
    [ROWS, blocks * COLUMNS]. All are contiguous.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tile = Tile(builder)
        left, row, right, block, pairs, start, out = (
            context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        column = tile.times(block, COLUMNS)
        tile.begin(start, column)
        step = builder.extract_value(left.shape, 1)
        rows = [builder.mul(builder.add(row, INT64(r)), step) for r in range(ROWS)]
        first = builder.mul(column, builder.extract_value(right.shape, 1))
        with cgutils.for_range(builder, pairs) as loop:
            tile.add(
                left,
                [builder.add(r, tile.times(loop.index, 2)) for r in rows],
                right,
                builder.add(first, tile.times(loop.index, COLUMNS)),
            )
        tile.end(out, column)
        return context.get_dummy_value()

    return types.void(left, types.int64, right, types.int64, types.int64, start, out), build


multiply: Any = intrinsic(tile_product)  # for compiled functions: all arguments but the first


class Tile:
    """The sums of one tile, in registers, and the instructions that work on them."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.sums = [[cgutils.alloca_once(builder, SUMS) for _ in range(VECTORS)] for _ in range(ROWS)]
        kind = ir.FunctionType(SUMS, [HALVES, HALVES])
        self.product = cgutils.get_or_insert_function(builder.module, kind, OPERATOR)

    def times(self, index: Any, factor: int) -> Any:
        return self.builder.mul(index, INT64(factor))

    def place(self, array: Any, index: Any, kind: Any) -> Any:
        """Where `kind` begins in an array, as a pointer to it."""
        return self.builder.bitcast(self.builder.gep(array.data, [index]), kind.as_pointer())

    def vectors(self, array: Any, index: Any, kind: Any) -> list[Any]:
        """Pointers to one row's part in an array of int32."""
        return [
            self.place(array, self.builder.add(index, INT64(vector * LANES)), kind)
            for vector in range(VECTORS)
        ]

    def begin(self, start: Any, column: Any) -> None:
        for vector, pointer in enumerate(self.vectors(start, column, SUMS)):
            value = self.builder.load(pointer, align=4)
            for row in self.sums:
                self.builder.store(value, row[vector])

    def add(self, left: Any, rows: list[Any], right: Any, place: Any) -> None:
        """Add the products of one pair of each row of `left`, at `rows`, and all columns."""
        columns = [self.builder.load(pointer, align=4) for pointer in self.vectors(right, place, HALVES)]
        for own, row in zip(self.sums, rows, strict=True):
            pair = self.repeated(self.builder.load(self.place(left, row, INT32), align=2))
            for pointer, column in zip(own, columns, strict=True):
                product = self.builder.call(self.product, [pair, column])
                self.builder.store(self.builder.add(self.builder.load(pointer), product), pointer)

    def repeated(self, pair: Any) -> Any:
        """Two int16 in every lane."""
        nothing = ir.Constant(SUMS, ir.Undefined)
        one = self.builder.insert_element(nothing, pair, INT32(0))
        lanes = self.builder.shuffle_vector(one, nothing, SUMS([0] * LANES))
        return self.builder.bitcast(lanes, HALVES)

    def end(self, out: Any, column: Any) -> None:
        step = self.builder.extract_value(out.shape, 1)
        for number, row in enumerate(self.sums):
            place = self.builder.add(self.builder.mul(INT64(number), step), column)
            for pointer, target in zip(row, self.vectors(out, place, SUMS), strict=True):
                self.builder.store(self.builder.load(pointer), target, align=4)
