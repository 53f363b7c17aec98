"""One fit on many devices, through torch's own engine: each process takes a share of the members, or of the people.

Members do not influence each other, so processes that share members never speak until the end: `shard.part` of the stack,
`fit` as always, `gather_members`. Where one model is too much for the people of one device, each process takes a part of
the people and `fit(…, search=Search(shard=shard))` sums gradients over processes. Start either under torch's launcher,
`torchrun --nproc-per-node 4 script.py`; without it the same script is one process.
"""

import copy
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from physics.arguments import quote, require_device, require_kind, require_number, require_path

ModuleT = TypeVar("ModuleT", bound=nn.Module)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shard:
    """This process among the `world` processes of a job: its `rank` and its `device`.

    A context manager: `with Shard.from_env() as shard:` waits for the others at the end. An error leaves at once: the
    launcher then ends the other processes, and without a launcher their next exchange fails.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    def __post_init__(self) -> None:
        require_number(self.world, "Shard: world", least=1.0, whole=True)
        require_number(self.rank, "Shard: rank", least=0.0, most=self.world - 1.0, whole=True)
        object.__setattr__(self, "device", require_device(self.device, "Shard: device"))

    @staticmethod
    def from_env(device: str = "cpu", timeout: timedelta = timedelta(hours=2)) -> "Shard":
        """The process that the environment describes (RANK, WORLD_SIZE, LOCAL_RANK, as torchrun sets them), or the only one.

        Arguments: `device`, cpu (gloo) or cuda (nccl, one GPU per process); `timeout`, how long an exchange waits for the
        slowest process: members that stop early wait for those that do not.
        Errors: `ValueError` for a device that is not there.
        """
        if not (isinstance(device, str) and device == "cuda"):  # of which each process has its own, as is looked at below
            require_device(device, "Shard.from_env: device")
        require_kind(timeout, timedelta, "Shard.from_env: timeout", "timedelta(hours=2)")
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Shard(device=torch.device(device))
        where = torch.device(device)
        if where.type == "cuda":
            local = int(os.environ.get("LOCAL_RANK", "0"))
            if local >= torch.cuda.device_count():
                raise ValueError(
                    f"process {local} of this machine needs a GPU of its own, and torch sees {torch.cuda.device_count()}; start "
                    "fewer processes, or use the CPU"
                )
            where = torch.device("cuda", local)
            torch.cuda.set_device(where)
        if not dist.is_initialized():
            # The first optimiser step imports it. Imported while there is a group, it keeps hold of that group: its threads
            # outlive `destroy_process_group`, and now and then abort the process as it exits (seen with torch 2.13).
            importlib.import_module("torch._dynamo")
            if where.type == "cuda":
                dist.init_process_group("nccl", timeout=timeout, device_id=where)
            else:
                dist.init_process_group("gloo", timeout=timeout)
        return Shard(dist.get_rank(), dist.get_world_size(), where)

    def __enter__(self) -> "Shard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after an error there is nobody to wait for: the exit of this process is what tells the others
        if self.world > 1 and error is None:
            dist.barrier()
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """Is this the process that prints and saves?"""
        return self.rank == 0

    def part(self, count: int) -> Tensor:  # (k,)
        """Which of `count` members or people are this process's: neighbours, in numbers that differ by one at most.

        Errors: `ValueError` where there are fewer than processes.
        """
        require_number(count, "Shard.part: count, how many,", most=1e9, whole=True)
        count = int(count)
        if count < self.world:
            raise ValueError(f"{count} cannot be shared out to {self.world} processes; start at most {count}")
        return torch.tensor_split(torch.arange(count), self.world)[self.rank]

    def path(self, path: str | os.PathLike[str]) -> Path:
        """The process's own file beside the others': the path itself where there is one process."""
        require_path(path, "Shard.path: path", "'fit.checkpoint'")
        given = Path(path)
        return given if self.world == 1 else given.with_name(f"{given.name}.{self.rank}-of-{self.world}")

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over processes, the same bits in each. No gradient flows through it."""
        require_kind(tensor, Tensor, "Shard.total: tensor", "shard.total(tensor)")
        if self.world == 1:
            return tensor
        summed = tensor.detach().clone()
        dist.all_reduce(summed)
        return summed

    def gather(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Everyone's tensors joined along `dim`, in the order of `part`; they may differ in size along it."""
        require_kind(tensor, Tensor, "Shard.gather: tensor", "shard.gather(tensor)")
        require_number(dim, "Shard.gather: dim", least=-float(tensor.ndim), most=tensor.ndim - 1.0, whole=True)
        if self.world == 1:
            return tensor
        own = tensor.detach().movedim(dim, 0).contiguous()
        sizes = torch.zeros(self.world, dtype=torch.long, device=self.device)
        sizes[self.rank] = own.shape[0]
        lengths = self.total(sizes).tolist()
        padded = own.new_zeros(max(lengths), *own.shape[1:])
        padded[: own.shape[0]] = own
        found = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(found, padded)
        return torch.cat([f[:k] for f, k in zip(found, lengths, strict=True)]).movedim(0, dim).contiguous()

    def alike(self, module: nn.Module) -> None:
        """Give the module the trainable numbers that it has in the first process."""
        require_kind(module, nn.Module, "Shard.alike: module", "shard.alike(model)")
        if self.world > 1:
            for parameter in module.parameters():
                dist.broadcast(parameter.data, 0)

    def latest_common(self, indices: list[int]) -> int | None:
        """The largest step that every process can go on from, None where none has any.

        Arguments: `indices`, the steps that this process has, at most two.
        Errors: `ValueError`, in every process, where some have steps and all have none in common.
        """
        if isinstance(indices, str | bytes | dict | set) or not isinstance(indices, Iterable):
            raise ValueError(f"Shard.latest_common: indices is a list of steps, and is {quote(indices)}; write [] for none")
        indices = list(indices)
        for index in indices:
            require_number(index, "Shard.latest_common: each of indices", least=0.0, most=1e12, whole=True)
        indices = [int(index) for index in indices]
        padded = torch.tensor([*indices, -1, -1][:2], dtype=torch.long, device=self.device)
        rows = self.gather(padded[None]).tolist()
        common = set.intersection(*(set(row) for row in rows)) - {-1}
        if common:
            return max(common)
        if any(i >= 0 for row in rows for i in row):
            raise ValueError(
                f"the processes' checkpoints have no step in common ({rows}); delete all of them to start anew"
            )
        return None


def gather_members(module: ModuleT, shard: Shard) -> ModuleT:
    """A copy of the module with the members of all processes, in the order of `Shard.part`."""
    require_kind(module, nn.Module, "gather_members: module", "gather_members(model, shard)")
    require_kind(shard, Shard, "gather_members: shard", "Shard.from_env()")
    whole = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in whole.named_parameters():
            parameter.data = shard.gather(module.get_parameter(name))
    return whole
