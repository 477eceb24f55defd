"""What fits: the memory that dreaming or training wants at its worst moment, and the ways to need less, before anything is loaded.

    dreaming   largest of  text encoder + its working, world + activations (+ KV cache) + sampler, tokenizer + decoding;
               with everything on the device, the weights of all three and the largest working of one
    training   4 B weights + 12 B for each trained number (two moments, the average) + what one step holds, gradients with it

Weights are counted; what a run of a network holds beside them is measured by `nn.dry`, from the network's own code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from armillary import tokenizers
from armillary.nn import lora
from armillary.nn.dry import Dry, dry_run
from armillary.progress import track
from armillary.rollout.wanted import Wanted, of_world
from armillary.store import weights_root
from armillary.worlds.adapters import targets_of
from armillary.worlds.autoregressive.transformer import Cache, Transformer
from armillary.worlds.diffusion.unet import UNet

GIB = 2**30
MARGIN = GIB  # of a device, for the driver and for holes between tensors
SAMPLER = 48  # bytes for each number of a clip: the noisy one twice in float64, its slope, noise, what is given, the answer
RANK = 16
# T5-11B's encoder, which the published worlds read.
T5 = {"d_model": 1024, "d_kv": 128, "num_heads": 128, "d_ff": 65_536, "num_layers": 24, "vocab_size": 32_128}


@dataclass(frozen=True)
class Part:
    """Bytes of a part's weights, and of what it holds beside them while it works."""

    name: str
    weights: int
    working: int
    note: str = ""


@dataclass(frozen=True)
class Way:
    """One way to run it: what it needs in bytes, and the flags that ask for it."""

    name: str
    bytes: int
    flags: str

    def fits(self, device: int) -> bool:
        return self.bytes + MARGIN <= device


def forward(w: Wanted, batch: int, training: bool) -> Any:
    """The call of the network that a dry run makes."""
    ref, (_, h, wd), t = w.setting.tokenizer, w.latents, w.at_once
    words = w.words  # asked here: an encoder that is opened to say it wants real bytes

    def run(module: nn.Module) -> Tensor:
        network = getattr(module, "network", module)
        context = torch.zeros(batch, words, w.setting.text_dim) if words else None
        if isinstance(network, Transformer):
            ids = torch.zeros(batch, t * h * wd - 1 + network.config.begin, dtype=torch.long)
            if training:
                return network(ids, context=context)
            cache = Cache(network.config, batch, ids.shape[1] + 1, network.embed.weight)
            given = ids[:, : max(1, (t - 1) * h * wd)]
            return network(given, context=context, cache=cache, last=True)
        if isinstance(network, UNet):
            past = torch.zeros(batch, len(w.config.ages), ref.channels, h, wd)
            one, acted = torch.zeros(batch), torch.zeros(batch, network.action_dim) if network.action_dim else None
            return network(past[:, 0], past, past[:, :, 0, 0, 0], one, one, action=acted, context=context)
        return network(torch.zeros(batch, ref.channels, t, h, wd), torch.zeros(batch), context=context)

    return run


def world_part(w: Wanted, precision: str = "float32", batch: int = 1) -> tuple[Part, int, int]:
    """(the world while it dreams, bytes of its largest block, bytes of all of them)."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def build() -> nn.Module:
        return w.build().to(kind).requires_grad_(False)

    dry = dry_run(build, forward(w, batch, False), autocast=kind if kind != torch.float32 else None)
    with torch.device("meta"):
        module = build()
    blocks = [sum(p.numel() * p.element_size() for p in b.parameters()) for b in getattr(module, "blocks", ())]
    t, h, wd = w.at_once, *w.latents[1:]
    sampler = 0 if w.setting.tokenizer.vocab else SAMPLER * batch * w.setting.tokenizer.channels * t * h * wd
    note = f"{t} latent frames of {h} x {wd} at once"
    return Part("world", dry.weights, dry.peak + sampler, note), max(blocks, default=0), sum(blocks)


def cache_bytes(w: Wanted, precision: str = "float32") -> int:
    """Keys and values of a full window, for a network that keeps them; they are part of its working."""
    network = w.config.network
    if not hasattr(network, "kv_heads"):
        return 0
    width = 2 if precision == "bfloat16" else 4
    places = w.at_once * w.latents[1] * w.latents[2] + network.begin
    return 2 * network.layers * network.kv_heads * places * network.head * width


def tokenizer_part(w: Wanted) -> Part | None:
    """Decoding the whole video, in float32; `None` where the tokenizer is not in this package."""
    if w.tokenizer is None:
        return None
    config, (t, h, wd) = w.tokenizer, w.latents
    some = min(t, 3)
    shape = (1, some, h, wd) if config.vocab else (1, config.channels, some, h, wd)

    def decode(module: Any) -> Tensor:
        module.inference = lambda: module  # the plain network: what `inference` arranges holds no more at once
        if config.vocab:  # ids without numbers cannot be checked
            module._open = lambda ids: torch.zeros(len(ids), config.channels, *ids.shape[1:])
        return module.decode(torch.zeros(shape, dtype=torch.long if config.vocab else torch.float32))

    dry = dry_run(lambda: tokenizers.build(config).requires_grad_(False), decode)
    # Beyond those frames only two things grow: what attention over time remembers, and the video, once in pieces and once whole.
    remembered = (
        8 * config.width * (config.decoder_mult or config.mult)[-1] * h * wd if config.video and config.attention else 0
    )
    pixels = 2 * 4 * 3 * config.temporal * w.size[0] * w.size[1]
    return Part(
        "tokenizer",
        dry.weights,
        dry.peak + (t - some) * (remembered + pixels),
        f"{w.frames} frames of {w.size[0]} x {w.size[1]}",
    )


def text_part(w: Wanted) -> Part | None:
    """The text encoder in float32; of a published world T5-11B's, unless its folder is here."""
    name = w.setting.text.partition("@")[0]
    if not w.setting.text_dim or name == "hash":
        return None
    if name == "small":
        return Part(
            "text encoder", (weights_root() / "text-small" / "model.safetensors").stat().st_size, 0, "small, on the CPU"
        )
    if name == "qwen2.5-vl":
        return Part("text encoder", 0, 0, "Qwen2.5-VL-7B is not in this package: its embeddings are made elsewhere")
    folder = Path(name) if Path(name).is_dir() else weights_root() / name
    if files := sorted(folder.glob("*.safetensors")):
        return Part("text encoder", sum(f.stat().st_size for f in files), 0, str(folder))
    wide = T5["num_heads"] * T5["d_kv"]
    layer = T5["d_model"] * (4 * wide + 2 * T5["d_ff"] + 2)
    numbers = T5["num_layers"] * layer + T5["vocab_size"] * T5["d_model"]
    working = 4 * (2 * w.words * T5["d_ff"] + 2 * T5["num_heads"] * w.words**2)
    return Part("text encoder", 4 * numbers, working, "T5-11B's encoder")


def dreaming(w: Wanted) -> tuple[list[Part], list[Way]]:
    """The parts in float32, and the ways to dream from the plainest to the smallest."""
    world, *_ = world_part(w)
    half, half_largest, half_blocks = world_part(w, "bfloat16")
    others = [p for p in (text_part(w), tokenizer_part(w)) if p is not None]

    def all_there(one: Part) -> int:
        parts = [one, *others]
        return sum(p.weights for p in parts) + max(p.working for p in parts)

    def in_turn(one: int, left: list[Part]) -> int:
        return max([one, *(p.weights + p.working for p in left)])

    spoken = [p for p in others if p.name != "text encoder"]
    ways = [
        Way("all on the device", all_there(world), ""),
        Way("all on the device, bfloat16", all_there(half), "--precision bfloat16"),
        Way("parts in turn", in_turn(world.weights + world.working, others), "--offload parts"),
        Way("parts in turn, bfloat16", in_turn(half.weights + half.working, others), "--offload parts --precision bfloat16"),
        Way(
            "parts in turn, bfloat16, text embedded beforehand",
            in_turn(half.weights + half.working, spoken),
            "--offload parts --precision bfloat16 --embeddings DIR",
        ),
    ]
    if not w.setting.tokenizer.vocab:
        rest = half.weights - half_blocks + half_largest + half.working
        flags = "--offload blocks --precision bfloat16 --embeddings DIR"
        ways.append(Way("blocks in turn, bfloat16, text embedded beforehand", in_turn(rest, spoken), flags))
    return [*others[:1], world, *others[1:]] if others and others[0].name == "text encoder" else [world, *others], ways


def training(w: Wanted, batch: int = 1, rank: int = RANK) -> tuple[list[Part], list[Way]]:
    """The parts of the plainest way, and the ways to train a world on latents made beforehand."""
    rows = (
        ("all weights", "float32", 0, False, ""),
        ("all weights, bfloat16 products", "bfloat16", 0, False, "--set precision=bfloat16"),
        ("all weights, bfloat16, blocks checkpointed", "bfloat16", 0, True, "--set precision=bfloat16 --set parallel.checkpointing=full"),
        (f"adapters of rank {rank}, bfloat16", "bfloat16", rank, False, f"--set precision=bfloat16 --set model.lora={rank}"),
        (
            f"adapters of rank {rank}, bfloat16, blocks checkpointed", "bfloat16", rank, True,
            f"--set precision=bfloat16 --set model.lora={rank} --set parallel.checkpointing=full",
        ),
    )  # fmt: skip
    parts: list[Part] = []
    ways = []
    for name, precision, width, checkpoint, flags in track(rows, "plan", len(rows)):
        dry, trained = step(w, batch, precision, width, checkpoint)
        if not parts:
            parts = [
                Part("weights", dry.weights, 0),
                Part("optimizer", 8 * trained, 0, "two moments"),
                Part("average", 4 * trained, 0),
                Part("one step", 0, dry.peak, f"activations and gradients, batch {batch}"),
            ]
        ways.append(Way(name, dry.weights + 12 * trained + dry.peak, flags))
    return parts, ways


def step(w: Wanted, batch: int, precision: str, rank: int, checkpoint: bool) -> tuple[Dry, int]:
    """(a dry training step, how many numbers are trained)."""
    trained = 0

    def build() -> nn.Module:
        nonlocal trained
        module = w.build().requires_grad_(True)
        if rank:
            world = module if hasattr(module, "network") else nn.ModuleDict({"network": module})
            lora.attach(
                module, rank, targets=[t if world is module else t.removeprefix("network.") for t in targets_of(_seen(module))]
            )
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        return module

    kind = torch.bfloat16 if precision == "bfloat16" else None
    return dry_run(build, forward(w, batch, True), train=True, autocast=kind, checkpoint=checkpoint), trained


def _seen(module: nn.Module) -> nn.Module:
    """A bare network as a world has it."""
    if hasattr(module, "network"):
        return module
    world = nn.Module()
    world.network = module
    return world


def advice(world: Any, tokenizer: Any, frames: int, size: tuple[int, int], placement: Any) -> str:
    """A sentence for someone whose memory did not suffice; `world`, or one with conditions attached."""
    _, ways = dreaming(of_world(world, tokenizer.config, frames, size))
    told = ", ".join(f"{x.bytes / GIB:.1f} GiB with {x.flags or 'everything on the device'}" for x in ways)
    return (
        f"Not enough memory on {placement.device} for {frames} frames of {size[0]} x {size[1]}. It takes {told}. "
        "Fewer frames take less; `armillary doctor --plan WORLD --gpu GIB` says more."
    )
