"""The processes of a run: who is who, what they agree on, and the meshes that weights and frames are spread over.

`torchrun` starts them and says to each in its environment how many there are. Devices talk through NCCL on CUDA and gloo on a CPU; what
is agreed on (to stop, to skip a step, figures for the log) goes through gloo in either case, as a few numbers or as text in bytes: torch's
own way of sending objects would unpickle them.

Process `r` of `n`: frames are shared by neighbours (`context` of them, one group draws the same rows), weights by `shard` neighbours.
The two are independent of each other, because gradients are the mean over all processes in any case (see `context.py`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from armillary import progress
from armillary.errors import ArmillaryError, BadInput, Failed
from armillary.parallel.config import ParallelConfig
from armillary.parallel.tensors import whole

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
# The first process may encode a whole dataset while the others wait.
PATIENCE = timedelta(days=2)


def sizes(world: int, config: ParallelConfig) -> tuple[int, int]:
    """Copies of the weights, and processes that share one.

    Raises:
        BadInput: the number of processes does not factor.
    """
    shard = config.shard or world
    for name, size in (("shard", shard), ("context", config.context)):
        if world % size:
            fit = ", ".join(str(n) for n in range(1, world + 1) if world % n == 0)
            raise BadInput(
                f"parallel.{name}={size} does not divide the number of processes of this run, {world}; it may be {fit}. "
                "Processes are started by torchrun --nproc-per-node N -m armillary train ..."
            )
    return world // shard, shard


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run; by default the only one.

    Args:
        rank, world: number of this process, and how many there are; local, neighbours: the same on this machine.
        context: processes that share the frames of a clip.
        weights: the mesh that weights are spread over (`shard`, or `replicate` and `shard`); `None` where each process has its own.
        frames: the group that shares this process' clips; control: all processes, for what they agree on.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    neighbours: int = 1
    context: int = 1
    weights: DeviceMesh | None = None
    frames: ProcessGroup | None = None
    control: ProcessGroup | None = None

    @property
    def alone(self) -> bool:
        return self.world == 1

    @property
    def drawing(self) -> tuple[int, int]:
        """Which of how many parts of a batch are drawn here."""
        return self.rank // self.context, self.world // self.context

    def device(self, name: str) -> str:
        """The device of this process: `cuda` is its own GPU."""
        return f"cuda:{self.local}" if not self.alone and torch.device(name).type == "cuda" else name

    def mean(self, values: Sequence[float]) -> list[float]:
        """Number by number over all processes, in float64; one that is no number makes the mean none."""
        if self.alone:
            return list(values)
        import torch.distributed as dist

        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return (total / self.world).tolist()

    def any(self, value: bool) -> bool:
        """Whether it is true in any process."""
        return self.mean([float(value)])[0] > 0

    def tell(self, text: str) -> list[str]:
        """What each process says, in order."""
        if self.alone:
            return [text]
        import torch.distributed as dist

        said = torch.frombuffer(bytearray(text.encode() + b"\0"), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        dist.all_gather(lengths, torch.tensor([len(said)]), group=self.control)
        longest = max(int(n) for n in lengths)
        heard = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.world)]
        dist.all_gather(heard, nn.functional.pad(said, (0, longest - len(said))), group=self.control)
        return [bytes(h[: int(n) - 1].tolist()).decode() for h, n in zip(heard, lengths)]

    def first(self, action: Callable[[], Any]) -> None:
        """Process 0 does it and the others wait; what it says cannot be done ends all.

        Raises:
            ArmillaryError: process 0's own there, `Failed` with its words in the others.
        """
        error: ArmillaryError | None = None
        if self.rank == 0:
            try:
                action()
            except ArmillaryError as raised:
                error = raised
        said = "" if self.alone else self.tell("" if error is None else str(error))[0]
        if error is not None:
            raise error
        if said:
            raise Failed(f"Process {self.rank} ends with process 0, which said: {said}")

    def made(self, make: Callable[[], T]) -> T:
        """What `make` gives, in process 0 before the others: they find what it leaves in a cache."""
        out: list[T] = []
        self.first(lambda: out.append(make()))
        return out[0] if out else make()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors in process 0, nothing elsewhere; one after the other, so that no device holds more than one of them."""
        out = {}
        for name, tensor in tensors.items():
            value = whole(tensor)
            if self.rank == 0:
                out[name] = value if self.weights is None else value.cpu()
        return out

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Process 0's values in all of them: what is fitted may differ in its last bits from machine to machine."""
        if self.alone:
            return
        import torch.distributed as dist

        for tensor in tensors:
            sent = tensor.detach().cpu().contiguous()
            dist.broadcast(sent, 0, group=self.control)
            tensor.detach().copy_(sent)


@contextlib.contextmanager
def started(config: ParallelConfig, device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, for the length of a block; only process 0 then speaks. Alone without torchrun.

    Raises:
        BadInput: the number of processes does not factor, or the device cannot be shared out.
        Failed: another process ended.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    copies, shard = sizes(world, config)
    if world == 1:
        yield Ranks()
        return
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise BadInput(f"Several processes run on cpu or cuda; got device={device!r}.")
    if kind == "cuda":
        if device != "cuda":
            raise BadInput(f"Each of {world} processes takes a GPU of its own: say device=cuda, not {device!r}.")
        if local >= torch.cuda.device_count():
            raise BadInput(f"Process {local} of this machine wants a GPU of its own; there are {torch.cuda.device_count()}.")
        torch.cuda.set_device(local)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    quiet, progress.QUIET = progress.QUIET, progress.QUIET or rank > 0
    try:
        weights = frames = None
        if shard > 1:
            mesh = init_device_mesh(kind, (copies, shard), mesh_dim_names=("replicate", "shard"))
            weights = mesh if copies > 1 else mesh["shard"]
        if config.context > 1:
            mesh = init_device_mesh(kind, (world // config.context, config.context), mesh_dim_names=("data", "context"))
            frames = mesh.get_group("context")
        control: Any = dist.new_group(backend="gloo", timeout=PATIENCE)
        neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield Ranks(rank, world, local, neighbours, config.context, weights, frames, control)
    except RuntimeError as error:
        # gloo has no exception of its own for a peer that is gone
        if isinstance(error, ArmillaryError) or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise Failed(
            f"Process {rank} lost touch with the others: one of them ended, and says why in its own message. ({str(error).splitlines()[0]})"
        ) from error
    else:  # after an error processes may be anywhere, and taking leave would wait for them
        if ours:
            dist.destroy_process_group()
    finally:
        progress.QUIET = quiet
