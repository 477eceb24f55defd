"""Adapters on worlds: which layers of each network have one by default, and a world that trains its adapters alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, nn

from armillary.nn import lora
from armillary.types import Batch, Conditioning
from armillary.worlds.autoregressive.transformer import Transformer
from armillary.worlds.base import World
from armillary.worlds.diffusion.dit import DiT
from armillary.worlds.diffusion.unet import UNet

# Attention and the layers between: what published adapters of such networks train. A network of another kind: all of its blocks.
TARGETS: dict[type[nn.Module], tuple[str, ...]] = {
    UNet: ("network.blocks.*", "network.mixer*", "network.fine_mixers.*"),
    DiT: ("network.blocks.*.attn.*", "network.blocks.*.cross.*", "network.blocks.*.mlp.*"),
    Transformer: ("network.blocks.*.attention.*", "network.blocks.*.text.*", "network.blocks.*.mlp.*"),
}
# What a world says of itself, it says of its adapted self.
SAID = (
    "family", "config", "setting", "tokenizer", "action_spec", "name", "sha256", "blocks", "network", "fit_normaliser", "ports",
    "unroll_prob",
)  # fmt: skip


def targets_of(world: nn.Module) -> tuple[str, ...]:
    """The default patterns of its network that name a layer (a network that reads no text has none for it)."""
    network = getattr(world, "network", None)
    patterns = next((t for kind, t in TARGETS.items() if isinstance(network, kind)), ("*blocks.*",))
    names = lora.candidates(world)
    return tuple(p for p in patterns if any(fnmatchcase(n, p) for n in names))


class Adapted(nn.Module):
    """A world with adapters of which only they are trained, and are its state: a checkpoint holds them and not the world.

    Args:
        world: the finished one; its weights stay as they are. rank, alpha, targets: as in `lora.attach`; no targets: the default ones.
    """

    def __init__(self, world: World, rank: int, alpha: float | None = None, targets: Sequence[str] = ()) -> None:
        super().__init__()
        self.world = world
        self.lora = lora.attach(world, rank, alpha, targets or targets_of(world))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name) if name in SAID else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SAID:
            setattr(self.world, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One training step's loss."""
        return self.world(batch, rng)

    def extend(self, given: Tensor, frames: int, conditioning: Conditioning, **sampling: Any) -> Tensor:
        """As the world's own, with the adapters in the weights for its length: fast paths read those past the layers."""
        with lora.merged(self.world):
            return self.world.extend(given, frames, conditioning, **sampling)

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """The adapters, under the names of their parameters."""
        return {f"world.{name}": value for name, value in lora.state(self.world).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Strict always; raises BadInput for other adapters."""
        lora.load_state(self.world, {name.removeprefix("world."): value for name, value in state_dict.items()})

    def save(
        self,
        folder: str | Path,
        base: str,
        extra: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Path:
        """Write the adapters alone; `base` is the name or folder that the world will be found under, `tensors` another state."""
        own = {name.removeprefix("world."): value for name, value in (tensors or self.state_dict()).items()}
        return lora.save(self.world, folder, self.lora, lora.Base(base, self.world.sha256), extra, own)


def put_on(world: World, folders: Sequence[str | Path]) -> World:
    """Fold adapters into a world's weights, one after the other; it remembers which.

    Raises:
        BadInput: an adapter of another world, naming both.
    """
    base = lora.Base(world.name, world.sha256)
    for folder in folders:
        worn = lora.load(folder, world, base)
        lora.fold(world)
        world.adapters = (*world.adapters, worn)
    return world.requires_grad_(True) if folders else world
