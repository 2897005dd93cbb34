"""What a transformer sees while the pipeline is walked: raw columns of the frame, then a matrix of numbers in
pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.export.graph import Graph, NotConvertible

#: Raw columns, as signature.json describes them.
Frame = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Numbers:
    """Columns of the input matrix as they are."""

    indices: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.indices)

    def take(self, places: Sequence[int]) -> Numbers:
        """Some of its columns."""
        return Numbers(tuple(self.indices[i] for i in places))

    def tensor(self, graph: Graph) -> str:
        """Name of a float64 tensor (rows, width)."""
        return graph.select(self.indices)


@dataclass(frozen=True)
class Flags:
    """Columns that are 1 where a column of the input matrix equals a value, else 0."""

    pairs: tuple[tuple[int, float], ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.pairs)

    def take(self, places: Sequence[int]) -> Flags:
        """Some of its columns."""
        return Flags(tuple(self.pairs[i] for i in places))

    def tensor(self, graph: Graph) -> str:
        """Name of a float64 tensor (rows, width)."""
        repeated = graph.select([index for index, _ in self.pairs])
        values = graph.constant([[value for _, value in self.pairs]])
        return graph.cast(graph.node("Equal", repeated, values), np.float64)


@dataclass(frozen=True)
class Tensor:
    """A float64 tensor of the graph (rows, width)."""

    name: str
    width: int

    def tensor(self, graph: Graph) -> str:
        """Its name."""
        return self.name


Piece = Numbers | Flags | Tensor


@dataclass(frozen=True)
class Matrix:
    """Pieces side by side."""

    pieces: tuple[Piece, ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return sum(piece.width for piece in self.pieces)

    @classmethod
    def beside(cls, matrices: Iterable[Matrix]) -> Matrix:
        """Matrices side by side; neighbouring pieces of one kind become one, which saves nodes."""
        pieces: list[Piece] = []
        for piece in (p for matrix in matrices for p in matrix.pieces if p.width):
            last = pieces[-1] if pieces else None
            if isinstance(last, Numbers) and isinstance(piece, Numbers):
                pieces[-1] = Numbers(last.indices + piece.indices)
            elif isinstance(last, Flags) and isinstance(piece, Flags):
                pieces[-1] = Flags(last.pairs + piece.pairs)
            else:
                pieces.append(piece)
        return cls(tuple(pieces))

    def tensor(self, graph: Graph) -> str:
        """Name of the float64 tensor (rows, width) that holds all of it.

        Raises:
            NotConvertible: it has no column.
        """
        if not self.pieces:
            raise NotConvertible("the estimator is given no columns")
        names = [piece.tensor(graph) for piece in self.pieces]
        return names[0] if len(names) == 1 else graph.node("Concat", *names, axis=1)

    def take(self, graph: Graph, places: Sequence[int]) -> Matrix:
        """Some columns, in the order of `places`."""
        if all(place == i for i, place in enumerate(places)) and len(places) == self.width:
            return self
        if len(self.pieces) == 1 and not isinstance(self.pieces[0], Tensor):
            return Matrix((self.pieces[0].take(places),))
        chosen = graph.node("Gather", self.tensor(graph), graph.constant(places, np.int64), axis=1)
        return Matrix((Tensor(chosen, len(places)),))

    def as_numbers(self) -> bool:
        """Whether it is nothing but columns of the input matrix."""
        return all(isinstance(piece, Numbers) for piece in self.pieces)


def numbers(graph: Graph, frame: Frame) -> Matrix:
    """Number, integer and boolean columns as they are.

    Raises:
        NotConvertible: one is of another type.
    """
    for feature in frame:
        if not is_number(feature):
            raise NotConvertible(f"the {feature['type']} column {feature['name']} reaches it without an encoder")
    return Matrix((Numbers(tuple(graph.column({"feature": f["name"], "kind": "number"}) for f in frame)),))


def is_number(feature: Mapping[str, Any]) -> bool:
    """Whether the column is float64 in the frame."""
    return feature["type"] in ("number", "integer", "boolean")
