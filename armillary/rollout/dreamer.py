"""A world and its tokenizer as one thing that takes pixels and gives pixels.

`Dreamer` is what `generate`, the Gymnasium environment and the evaluation share: it checks that world and tokenizer belong together,
brings frames to the world's size, and extends them. It holds no guard; whoever shows a dream to a person goes through `generate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from armillary import media, text, tokenizers
from armillary.errors import BadInput
from armillary.rollout.placement import Placement
from armillary.rollout.posttrained import Posttrained, open_world
from armillary.tokenizers import Tokenizer
from armillary.types import Camera, Conditioning
from armillary.worlds import World
from armillary.worlds.autoregressive.refine import Refiner, load_refiner
from armillary.worlds.autoregressive.stream import StreamRefiner, draft_of
from armillary.worlds.diffusion.causal import CausalWorld
from armillary.worlds.diffusion.clip import ClipWorld
from armillary.worlds.diffusion.common import DiffusionWorld


class Dreamer:
    """A world with its tokenizer and text encoder.

    Args:
        world: a loaded world, a shipped name or a checkpoint folder.
        tokenizer: taken instead of the one the world names (its weights must be the same).
        embeddings: a folder of embeddings made beforehand, taken instead of the text encoder, which then need not be there.
        adapters: folders of adapters of that world, put on when it is loaded here.
        placement: where and in which precision it runs; what goes in and comes out lies on the CPU, in float32.
        refiner: a diffusion decoder of the world's tokens, or its folder: draws the pixels instead of the tokenizer.
        size: height and width in pixels; by default those that the world was trained on, which it knows best.

    Raises:
        BadInput: the tokenizer's weights are not those the world was trained on, or the embeddings or the refiner are made for another;
            a size that tokenizer and network do not tile, or another one for a world that has only its own.
    """

    def __init__(
        self,
        world: World | Posttrained | str | Path,
        tokenizer: Tokenizer | None = None,
        embeddings: str | Path | None = None,
        refiner: Refiner | StreamRefiner | str | Path | None = None,
        adapters: Sequence[str | Path] = (),
        placement: Placement | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.placement = placement or Placement()
        if isinstance(world, (World, Posttrained)):
            if adapters:
                raise BadInput(
                    "Adapters are put on a world as it is loaded: give its name, or worlds.load(name, adapters=...)."
                )
            self.world = world
        else:
            # In half precision no copy in float32 is made on the way.
            self.world = open_world(world, None if self.placement.precision == "bfloat16" else torch.float32, adapters)
        self.placement.check(self.world)
        self.placement.prepare(self.world)
        ref = self.world.tokenizer
        if not ref.sha256:
            raise BadInput(
                f"World {self.world.name!r} names no weights of its tokenizer (one like {ref.name}); "
                "convert it again with --tokenizer, or extend latents with world.extend."
            )
        self.tokenizer = tokenizer or tokenizers.load(ref.name)
        if self.tokenizer.sha256 != ref.sha256:
            raise BadInput(
                f"World {self.world.name!r} was trained on tokenizer {ref.name!r} with sha256 {ref.sha256[:12]}; "
                f"the one found has {self.tokenizer.sha256[:12]}."
            )
        self.encoder = self._encoder(embeddings)
        self.fps = self.world.setting.fps
        self.temporal = ref.temporal
        self.size = self._sized(size)
        self.refiner, self.finer = self._refiner(refiner)

    def _sized(self, size: tuple[int, int] | None) -> tuple[int, int]:
        own, ref = self.world.tokenizer.size, self.world.tokenizer
        if size is None or tuple(size) == own:
            return own
        h, w = size
        name, asked = self.world.name or self.world.family, f"{h} x {w} was asked for"
        if not isinstance(self.world, DiffusionWorld):  # tokens have places, and what is attached to a world lies on its grid
            raise BadInput(f"World {name!r} dreams {own[0]} x {own[1]} pixels and no other size; {asked}.")
        tile = ref.spatial * getattr(self.world.config.network, "patch", 1)
        if h < 1 or w < 1 or h % tile or w % tile:
            near = " x ".join(str(max(1, round(x / tile)) * tile) for x in (h, w))
            raise BadInput(
                f"World {name!r} dreams pictures whose height and width are multiples of {tile}, as {near}; {asked}."
            )
        return h, w

    def _refiner(
        self, refiner: Refiner | StreamRefiner | str | Path | None
    ) -> tuple[Refiner | StreamRefiner | None, Tokenizer | None]:
        """The diffusion decoder and the tokenizer whose latents it draws."""
        if refiner is None:
            return None, None
        held = refiner if isinstance(refiner, (Refiner, StreamRefiner)) else load_refiner(refiner)
        if held.tokens.sha256 != self.tokenizer.sha256:
            raise BadInput(
                f"Refiner {held.name!r} reads tokens of {held.tokens.name!r} ({held.tokens.sha256[:12]}); world {self.world.name!r} speaks "
                f"those of {self.world.tokenizer.name!r} ({self.tokenizer.sha256[:12]})."
            )
        finer = tokenizers.load(held.latents.name)
        if finer.sha256 != held.latents.sha256:
            raise BadInput(
                f"Refiner {held.name!r} draws latents of {held.latents.sha256[:12]}; {held.latents.name!r} is another."
            )
        return held, finer

    def _encoder(self, embeddings: str | Path | None) -> text.TextEncoder | None:
        setting = self.world.setting
        if embeddings is None:
            return text.load(setting.text) if setting.text else None
        if not setting.text:
            raise BadInput(f"World {self.world.name!r} reads no text; leave the embeddings out.")
        held = text.load(embeddings)
        if not isinstance(held, text.CachedEncoder):
            raise BadInput(f"{embeddings} holds an encoder; embeddings as `armillary embed` makes them are wanted.")
        name = Path(setting.text.partition("@")[0]).name
        # A published world says t5 alone: any folder's name stands for it, and the width tells sizes apart.
        if held.dim != setting.text_dim or (name != "t5" and Path(held.encoder).name != Path(setting.text).name):
            raise BadInput(
                f"World {self.world.name!r} reads text encoder {setting.text!r} of width {setting.text_dim}; {embeddings} was made with "
                f"{held.encoder!r} of width {held.dim}."
            )
        return held

    def fit(self, frames: np.ndarray) -> np.ndarray:
        """uint8 `t h w 3` of any size -> the world's size, cropped in the middle to its aspect."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise BadInput(f"Frames are uint8 t h w 3; got {frames.dtype} {frames.shape}.")
        return media.fit(frames, self.size)

    def usable(self, num_frames: int) -> int:
        """The longest length 1 + temporal*k that is no longer than `num_frames` (0 for none)."""
        return 0 if num_frames < 1 else 1 + (num_frames - 1) // self.temporal * self.temporal

    @property
    def most_given(self) -> int:
        """Frames that are worth giving. A clip world looks at so many latent frames, of which the first stands for one picture: cut in
        pixels they are such a beginning, cut in latents they are not."""
        world = getattr(self.world, "world", self.world)
        if isinstance(world, ClipWorld) and self.temporal > 1:
            return 1 + self.temporal * max(0, world.config.past - 1)
        return 10**6

    def fits(self, prompt: str) -> bool:
        """Whether this world's text encoder takes in the whole of `prompt`."""
        return self.encoder is not None and self.encoder.count(prompt) <= self.encoder.length

    def condition(
        self,
        prompts: Sequence[str],
        negative: str = "",
        actions: np.ndarray | None = None,
        cut: bool = False,
        camera: Camera | None = None,
    ) -> Conditioning:
        """Sentences, raw actions `t a` or `b t a` and a camera's path as a `Conditioning` for `len(prompts)` samples.

        Args:
            camera: its poses `1+t 4 4` are of the last given frame and of the `t` further ones; of a world that follows a camera.
            cut: whether a sentence that is too long for the encoder is cut off, as captions are in training; otherwise it is an error.
        """
        made = Conditioning()
        if self.encoder is not None:
            with self.placement.at(self.encoder):
                context, mask = self.encoder.encode(list(prompts), cut)
                made = dataclasses.replace(made, context=context, context_mask=mask)
                if negative:
                    made = dataclasses.replace(made, negative=self.encoder.encode([negative] * len(prompts))[0])
        if actions is not None:
            values = torch.as_tensor(np.asarray(actions), dtype=torch.float32)
            values = values[None].expand(len(prompts), -1, -1) if values.ndim == 2 else values
            made = dataclasses.replace(made, actions=values)
        if camera is not None:
            pose, k = (torch.as_tensor(x, dtype=torch.float32)[None] for x in (camera.pose, camera.intrinsics))
            k = k if k.ndim == 4 else k[:, None].expand(-1, pose.shape[1], -1, -1)
            made = dataclasses.replace(
                made, poses=pose.expand(len(prompts), -1, -1, -1), intrinsics=k.expand(len(prompts), -1, -1, -1)
            )
        return made

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> Tensor:
        """uint8 `t h w 3` -> latents `1 c t h w` or ids `1 t h w`."""
        with self.placement.at(self.tokenizer):
            made = self.tokenizer.encode(media.to_tensor(frames))
        return (made.ids if hasattr(made, "ids") else made.values).cpu()  # type: ignore[union-attr]

    @torch.no_grad()
    def decode(self, latents: Tensor, seed: int = 0, given: np.ndarray | None = None) -> np.ndarray:
        """Latents or ids of one sample -> uint8 `t h w 3`.

        Args:
            seed: of what a refiner draws; given: the first frames, uint8 `t h w 3`, where they are known: a streaming refiner goes on from
                them.
        """
        if self.refiner is not None and self.finer is not None:
            generator = Generator().manual_seed(seed)
            if isinstance(self.refiner, StreamRefiner):
                seen = None if given is None else self.finer.encode(media.to_tensor(given)).values  # type: ignore[union-attr]
                with self.placement.at(self.tokenizer):
                    draft = draft_of(latents, self.tokenizer, self.finer)
                drawn = self.refiner.render(draft, self.finer.decode, generator=generator, given=seen)
            else:
                drawn = self.refiner.render(latents, self.finer.decode, generator=generator)
            return media.to_frames(drawn)
        with self.placement.at(self.tokenizer):
            return media.to_frames(self.tokenizer.decode(latents).cpu())

    def empty(self, batch: int = 1) -> Tensor:
        """No frame at all, in the shape `extend` takes."""
        ref = self.world.tokenizer
        h, w = self.size[0] // ref.spatial, self.size[1] // ref.spatial
        return torch.zeros(batch, 0, h, w, dtype=torch.long) if ref.vocab else torch.zeros(batch, ref.channels, 0, h, w)

    @torch.no_grad()
    def extend(
        self, given: Tensor, frames: int, conditioning: Conditioning, seed: int | Generator = 0, **sampling: Any
    ) -> Tensor:
        """`frames` further latent frames; the world's own arguments pass through `sampling`."""
        generator = seed if isinstance(seed, Generator) else Generator().manual_seed(seed)
        with self.placement.at(self.world) as device, self.placement.autocast():
            made = self.world.extend(given.to(device), frames, _there(conditioning, device), generator=generator, **sampling)
        return (made.float() if made.is_floating_point() else made).cpu()

    def live(self, given: Tensor, conditioning: Conditioning, **sampling: Any) -> Going:
        """The world from `given` on, to be asked for further latent frames again and again; see `World.live`."""
        return Going(self, given, conditioning, sampling)

    def evaluations(self, known: int, frames: int, sampling: Mapping[str, Any]) -> int:
        """How many noise levels are gone through while `frames` latent frames are dreamt after `known`; of a diffusion world."""
        world = getattr(self.world, "world", self.world)  # what a condition is attached to
        assert isinstance(world, DiffusionWorld)

        def said(name: str) -> int:
            return world.number(name, sampling.get(name))

        if isinstance(world, CausalWorld):
            return frames * said("steps")
        if "first_steps" in world.usual:
            return (said("steps") if known else said("first_steps")) + (frames - 1) * said("steps")
        clip, past = world.config.clip, world.config.past
        clips = done = 0
        while done < frames:
            done += min(max(1, clip - min(past, known + done)), frames - done)
            clips += 1
        return clips * said("steps")

    @torch.no_grad()
    def dream(
        self,
        given: np.ndarray | None,
        num_frames: int,
        *,
        prompt: str = "",
        negative: str = "",
        actions: np.ndarray | None = None,
        seed: int | Generator = 0,
        cut: bool = False,
        camera: Camera | None = None,
        **sampling: Any,
    ) -> np.ndarray:
        """Pixels in, pixels out.

        Args:
            given: uint8 `t h w 3` already at the world's size and of a usable length, or None. The last `most_given` are used.
            num_frames: how many further frames; a multiple of `temporal`, plus one when nothing is given.
            actions: raw `num_frames a`; action `i` leads to the `i`-th further frame.
            cut, camera: as in `condition`.

        Returns:
            uint8 `num_frames h w 3`.
        """
        known = 0 if given is None else len(given)
        if known != self.usable(known):
            raise BadInput(f"This world takes 1 + {self.temporal}k given frames; got {known}.")
        if given is not None and known > self.most_given:
            known = self.usable(self.most_given)
            given = given[-known:]
        latents = self.empty() if given is None else self.encode(given)
        wanted = num_frames if known else num_frames - 1
        if num_frames < 1 or wanted % self.temporal:
            raise BadInput(f"{num_frames} further frames after {known} given are not 1 + {self.temporal}k in all.")
        steps = wanted // self.temporal + (0 if known else 1)
        made = self.extend(latents, steps, self.condition([prompt], negative, actions, cut, camera), seed, **sampling)
        drawn = seed.initial_seed() if isinstance(seed, Generator) else seed
        return self.decode(torch.cat([latents, made], dim=-3), drawn, given)[known:]


class Going:
    """A dreamer's world in the middle of a rollout: `World.live` where the dreamer keeps its world."""

    @torch.no_grad()
    def __init__(self, dreamer: Dreamer, given: Tensor, conditioning: Conditioning, sampling: dict[str, Any]) -> None:
        self.dreamer = dreamer
        with dreamer.placement.at(dreamer.world) as device, dreamer.placement.autocast():
            self.live = dreamer.world.live(given.to(device), _there(conditioning, device), **sampling)

    @torch.no_grad()
    def more(self, frames: int, conditioning: Conditioning, generator: Generator) -> Tensor:
        """`frames` further latent frames after all so far; `conditioning` is of these."""
        with self.dreamer.placement.at(self.dreamer.world) as device, self.dreamer.placement.autocast():
            made = self.live.more(frames, _there(conditioning, device), generator)
        return (made.float() if made.is_floating_point() else made).cpu()


def _there(conditioning: Conditioning, device: Any) -> Conditioning:
    moved: dict[str, Any] = {
        f.name: value.to(device) if isinstance(value := getattr(conditioning, f.name), Tensor) else value
        for f in dataclasses.fields(conditioning)
    }
    return Conditioning(**moved)
