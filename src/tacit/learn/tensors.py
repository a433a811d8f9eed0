"""Training sets in PyTorch; imported only where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from tacit.aggregates.columns import Array


class Columns(Dataset[Any]):
    """Columns of equal length; rows are fetched many at a time."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def __len__(self) -> int:
        return min((len(tensor) for tensor in self.tensors.values()), default=0)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: tensor[row] for name, tensor in self.tensors.items()}

    def __getitems__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        chosen = torch.as_tensor(rows)
        return {name: tensor[chosen] for name, tensor in self.tensors.items()}


def data_loader(arrays: Mapping[str, Array], size: int, options: Mapping[str, Any]) -> Any:
    """A loader of dicts from column to tensor."""
    return DataLoader(
        Columns(arrays), batch_size=size, **{"collate_fn": lambda batch: batch, **options}
    )
