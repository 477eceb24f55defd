"""The autoregressive world: a video is a sentence of tokens, and what comes next is the next token.

A sequence is a begin-of-video token, then the tokens of latent frame 0, 1, ... in raster order. Text enters by cross-attention; actions
are added to exactly those inputs *from which* a frame's tokens are predicted, so that the first token of a frame knows its action too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from einops import rearrange
from torch import Generator, Tensor, nn

from armillary.errors import BadInput, did_you_mean
from armillary.presets import override
from armillary.types import Batch, Conditioning, Grid
from armillary.worlds.autoregressive.decode import Sampling, decode, draw
from armillary.worlds.autoregressive.heads import Heads, load_heads
from armillary.worlds.autoregressive.objective import next_token_loss
from armillary.worlds.autoregressive.step import Joined
from armillary.worlds.autoregressive.transformer import SIZES, Transformer, TransformerConfig
from armillary.worlds.base import Setting, World


@dataclass(frozen=True)
class AutoregressiveConfig:
    """A world's size and training.

    Args:
        network: its transformer. In the table of sizes `vocab` may be 0 and `context_dim` 0: the setting fills them in.
        frames: latent frames it reads at once; `height`, `width`: cells of a latent frame, 0 for what the setting's tokenizer gives.
        z_loss: weight of the softmax normaliser's square, see `objective`.
        text_dropout: share of training rows whose text is replaced by a learned null, which makes `guidance` possible.
        action_dropout: share of training rows in which the actions up to some frame are unknown, as they are for frames that are
            given without their history.
    """

    network: TransformerConfig
    frames: int = 5
    height: int = 0
    width: int = 0
    z_loss: float = 1e-4
    text_dropout: float = 0.1
    action_dropout: float = 0.25

    @property
    def past(self) -> int:
        """How many latent frames it can see when it makes the next one."""
        return self.frames - 1

    def build(self, setting: Setting) -> AutoregressiveWorld:
        """A world with random weights.

        Raises:
            BadInput: the setting's tokenizer or text encoder is another than the config's numbers say.
        """
        return AutoregressiveWorld(resolve(self, setting), setting)


def resolve(config: AutoregressiveConfig, setting: Setting) -> AutoregressiveConfig:
    """`config` with every number that the setting decides filled in."""
    ref, network = setting.tokenizer, config.network
    if ref.vocab < 1:
        raise BadInput(
            f"An autoregressive world speaks tokens; tokenizer {ref.name!r} is continuous. Give one with a vocabulary."
        )
    if network.vocab not in (0, ref.vocab):
        raise BadInput(f"This size has a vocabulary of {network.vocab}; tokenizer {ref.name!r} has {ref.vocab}.")
    if setting.text_dim and network.context_dim not in (0, setting.text_dim):
        raise BadInput(
            f"This size reads text of width {network.context_dim}; encoder {setting.text!r} gives {setting.text_dim}."
        )
    height, width = (config.height or ref.size[0] // ref.spatial), (config.width or ref.size[1] // ref.spatial)
    network = dataclasses.replace(network, vocab=ref.vocab, context_dim=setting.text_dim or network.context_dim)
    if config.frames < 1 or height < 1 or width < 1:
        raise BadInput(f"A world wants at least one latent frame of one cell; got {config.frames} x {height} x {width}.")
    return dataclasses.replace(config, network=network, height=height, width=width)


class Lesson(NamedTuple):
    """A batch as the network takes it: inputs `b n`, what each is to say `b n`, text with its mask, what actions add `b n dim`."""

    inputs: Tensor
    targets: Tensor
    context: Tensor | None
    context_mask: Tensor | None
    extra: Tensor | None


class AutoregressiveWorld(World):
    """See the top of this file. Built by `AutoregressiveConfig.build`."""

    family: ClassVar[str] = "autoregressive"
    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        network = config.network
        self.grid = Grid(1, config.frames, config.height, config.width)
        self.network = Transformer(network, self.grid)
        if network.context_dim:
            self.null = nn.Parameter(torch.zeros(network.context_dim))
            nn.init.normal_(self.null)
        if setting.actions is not None:
            # Silent at first: attached to a trained world, the actions change nothing until they are trained.
            self.actions = nn.Sequential(
                nn.Linear(setting.tokenizer.temporal * setting.actions.dim, network.dim),
                nn.SiLU(),
                nn.Linear(network.dim, network.dim, bias=False),
            )
            nn.init.zeros_(self.actions[2].weight)  # type: ignore[arg-type]

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """What parallelism walks."""
        return self.network.blocks

    @property
    def cells(self) -> int:
        """Tokens of one latent frame."""
        return self.grid.h * self.grid.w

    # Training

    def forward(self, batch: Batch, rng: Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of the next token.

        Args:
            batch: `tokens` `b t h w`. Of rows with more than `frames` latent frames a random stretch is taken. With actions, action
                `i` leads from frame `i` to `i + 1` of the video that became the tokens, so `temporal * (t - 1)` of them are read;
                more may follow.

        Raises:
            BadInput: no tokens, another grid, ids outside the vocabulary, text or actions missing or not expected.
        """
        lesson = self.lesson(batch, rng)
        logits = self.network(lesson.inputs, context=lesson.context, context_mask=lesson.context_mask, extra=lesson.extra)
        return next_token_loss(logits, lesson.targets, self.config.z_loss)

    def lesson(self, batch: Batch, rng: Generator) -> Lesson:
        """Inputs and targets of a batch, as `forward` learns from them; raises as it does."""
        if batch.tokens is None:
            raise BadInput(
                "An autoregressive world trains on tokens; this batch has none. Encode it with a discrete tokenizer."
            )
        ids = self._checked(batch.tokens)
        rows, frames = ids.shape[:2]
        if frames < 1 + int(not self.config.network.begin):
            raise BadInput(
                f"A training clip wants at least {1 + int(not self.config.network.begin)} latent frames; got {frames}."
            )
        self.check_actions(batch.actions, (frames - 1) * self.tokenizer.temporal)
        vectors = None
        if batch.actions is not None:
            vectors, known = self._per_frame(batch.actions, 1, frames)
            if self.training:
                lost = self._uniform(rng, rows) < self.config.action_dropout
                cut = (self._uniform(rng, rows) * frames).long()
                known = known & ~(lost[:, None] & (torch.arange(frames, device=ids.device) <= cut[:, None]))
            vectors = self._act(vectors, known)
        if frames > self.config.frames:
            first = (self._uniform(rng, rows) * (frames - self.config.frames + 1)).long()
            pick = first[:, None] + torch.arange(self.config.frames, device=ids.device)
            row = torch.arange(rows, device=ids.device)[:, None]
            ids, vectors = ids[row, pick], None if vectors is None else vectors[row, pick]
        context, mask = self._text(batch.context, batch.context_mask, rows, rng if self.training else None)
        flat = rearrange(ids, "b t h w -> b (t h w)")
        inputs = self._begin(flat)[:, : -self.config.network.block]
        targets = flat[:, flat.shape[1] - inputs.shape[1] :]
        extra = None if vectors is None else self._extra(vectors)(0, inputs.shape[1])
        return Lesson(inputs, targets, context, mask, extra)

    def grown(self, overrides: Sequence[str], setting: Setting) -> AutoregressiveWorld:
        """This world with other settings, every weight carried over: more frames, YaRN, text, blocks.

        What is new (cross-attention, actions) is silent, so that with the same positions nothing is said differently at first.

        Args:
            overrides: of its config, as `frames=9` or `network.block=8`.
            setting: text or actions may be new in it.

        Raises:
            BadInput: a weight would be lost or change its shape.
        """
        device, dtype = self.network.embed.weight.device, self.network.embed.weight.dtype
        made = override(self.config, overrides).build(setting).to(device, dtype)
        old, new = self.state_dict(), made.state_dict()
        lost = sorted(k for k, v in old.items() if k not in new or new[k].shape != v.shape)
        if lost:
            raise BadInput(
                f"{', '.join(overrides)} would lose {len(lost)} weights of {self.name or self.family!r} (first: {lost[0]})."
            )
        made.load_state_dict(new | old)
        made.name, made.sha256 = self.name, self.sha256
        return made.train(self.training)

    # Generation

    @torch.no_grad()
    def extend(  # type: ignore[override]
        self,
        given: Tensor,
        frames: int,
        conditioning: Conditioning,
        *,
        generator: Generator,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 0.8,
        guidance: float = 0.0,
        seeds: Sequence[int] | None = None,
        keep: int | None = None,
        cached: bool = True,
        int8: bool = False,
        heads: Heads | str | Path | None = None,
        progress: Callable[[int], object] | None = None,
        **unknown: Any,
    ) -> Tensor:
        """`frames` further latent frames.

        When the window of `config.frames` is full, its oldest frames are dropped and the rest is read anew from place zero.

        Args:
            given: int64 `b t h w`; `t` may be 0 where sequences have a begin-of-video token.
            conditioning: text, and raw actions: `temporal` for each further frame, where the `i`-th leads to the `i`-th further frame of
                video. With nothing given the first frame has one action or none, which is not looked at. Whoever also knows the
                actions between the given frames passes them all, `temporal * (t + frames - 1)`.
            temperature, top_k, top_p: see `decode.Sampling`.
            guidance: how strongly to follow the text, `wanted + guidance * (wanted - other)`; the other is `conditioning.negative`,
                or no text. Doubles the work.
            seeds: one for each row, instead of the generator: a row then does not depend on its place in the batch.
            keep: frames that stay when the window moves on, `config.frames - 1` by default; fewer are faster and forget more.
            int8: decode in whole numbers of eight bits (CPU): faster, and a little different. See `step`.
            heads: speculative heads of this world, or their folder: the same tokens in fewer passes. See `heads`.
            progress: called after each pass with the number of tokens that came of it, for each row.

        Returns:
            int64 `b frames h w`, on `given`'s device.

        Raises:
            BadInput: another grid, ids outside the vocabulary, too few or too many actions, text for a world without, unknown settings.
        """
        if unknown:
            takes = ("temperature", "top_k", "top_p", "guidance", "seeds", "keep", "cached", "int8", "heads", "progress")
            raise BadInput(did_you_mean("sampling setting of an autoregressive world", next(iter(unknown)), takes))
        sampling = Sampling(float(temperature), int(top_k), float(top_p))
        ids = self._checked(given)
        rows, known = ids.shape[:2]
        if frames < 1:
            raise BadInput(f"At least one further latent frame must be asked for; got {frames}.")
        if not known and not self.config.network.begin:
            raise BadInput("This size has no begin-of-video token and cannot start from nothing: give at least one frame.")
        stay = self.config.past if keep is None else int(keep)
        if not int(not self.config.network.begin) <= stay < self.config.frames:
            raise BadInput(f"keep lies between 1 and {self.config.past}; got {stay}.")
        vectors = self._planned(conditioning.actions, rows, known, frames)
        context, mask = self._guided(conditioning, rows, guidance)
        uniform = draw(generator, rows, frames * self.cells, seeds)
        if isinstance(heads, (str, Path)):
            heads = load_heads(heads, self)
        joined = Joined(self.network, int8=True) if int8 else None

        seen = min(known, self.config.past)
        window, made, start = ids[:, known - seen :], 0, known - seen
        out = []
        while made < frames:
            take = min(frames - made, self.config.frames - window.shape[1])
            prompt = self._begin(rearrange(window, "b t h w -> b (t h w)"))
            new = decode(
                self.network,
                prompt,
                uniform[:, made * self.cells : (made + take) * self.cells],
                sampling,
                context=context,
                context_mask=mask,
                extra=None if vectors is None else self._extra(vectors[:, start : start + window.shape[1] + take]),
                guidance=guidance,
                cached=cached,
                heads=heads,
                joined=joined,
                progress=progress,
            ).clone()  # outside inference mode, so that what comes out is an ordinary tensor
            fresh = rearrange(new, "b (t h w) -> b t h w", h=self.grid.h, w=self.grid.w)
            out.append(fresh)
            made += take
            window = torch.cat([window, fresh], dim=1)
            dropped = max(0, window.shape[1] - stay)
            window, start = window[:, dropped:], start + dropped
        return torch.cat(out, dim=1).to(given.device)

    # Parts

    @property
    def _device(self) -> torch.device:
        return self.network.embed.weight.device

    def _uniform(self, rng: Generator, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=rng, device=rng.device).to(self._device)

    def _checked(self, ids: Tensor) -> Tensor:
        """`ids` on our device, when they are `b t h w` of this grid and inside the vocabulary."""
        if ids.ndim != 4 or ids.is_floating_point() or ids.dtype == torch.bool:
            raise BadInput(f"Tokens are whole numbers b t h w; got {ids.dtype} {tuple(ids.shape)}.")
        if tuple(ids.shape[2:]) != (self.grid.h, self.grid.w):
            raise BadInput(
                f"This world's latent frames have {self.grid.h} x {self.grid.w} cells; got {ids.shape[2]} x {ids.shape[3]}."
            )
        ids = ids.to(self._device, torch.long)
        if ids.numel():
            low, high = (int(x) for x in ids.aminmax())
            if low < 0 or high >= self.config.network.vocab:
                raise BadInput(f"Token ids lie in 0..{self.config.network.vocab - 1}; got {low} to {high}.")
        return ids

    def _begin(self, flat: Tensor) -> Tensor:
        """The begin-of-video token in front, where this size has one: a block of it where blocks are said."""
        if not self.config.network.begin:
            return flat
        # Those of a block differ, or nothing would tell its first places apart.
        front = self.config.network.vocab + torch.arange(self.config.network.block, device=flat.device)
        return torch.cat([front.expand(len(flat), -1), flat], dim=1)

    def _text(
        self, context: Tensor | None, mask: Tensor | None, rows: int, rng: Generator | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Text with the learned null in every row that has none or, with `rng`, is drawn to lose it."""
        if not self.config.network.context_dim:
            if context is not None:
                raise BadInput(f"World {self.name or self.family!r} takes no text; it was given {tuple(context.shape)}.")
            return None, None
        if context is None:
            return self.null.expand(rows, 1, -1), None
        if context.ndim != 3 or context.shape[0] != rows or context.shape[2] != self.config.network.context_dim:
            raise BadInput(
                f"Text embeddings are {rows} x n x {self.config.network.context_dim} here; got {tuple(context.shape)}."
            )
        context = context.to(self._device, self.null.dtype)
        shape = context.shape[:2]
        mask = torch.ones(shape, dtype=torch.bool, device=self._device) if mask is None else mask.to(self._device, torch.bool)
        if mask.shape != shape:
            raise BadInput(f"The text mask is {tuple(shape)} here; got {tuple(mask.shape)}.")
        silent = ~mask.any(dim=1)
        if rng is not None:
            silent = silent | (self._uniform(rng, rows) < self.config.text_dropout)
        front = torch.arange(shape[1], device=self._device) == 0
        context, mask = torch.where(silent[:, None, None], self.null, context), torch.where(silent[:, None], front, mask)
        used = int(mask.any(dim=0).nonzero().max()) + 1  # the padding that no row needs costs time
        return context[:, :used], mask[:, :used]

    def _guided(self, conditioning: Conditioning, rows: int, guidance: float) -> tuple[Tensor | None, Tensor | None]:
        """The text, and below it the text to move away from when there is guidance."""
        context, mask = self._text(conditioning.context, conditioning.context_mask, rows, None)
        if not guidance:
            return context, mask
        if context is None:
            raise BadInput("guidance follows text, and this world takes none.")
        negative = conditioning.negative
        other, other_mask = self._text(negative, None if negative is None else negative.abs().sum(-1) > 0, rows, None)
        assert other is not None
        length = max(context.shape[1], other.shape[1])
        pairs = []
        for x, m in ((context, mask), (other, other_mask)):
            m = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if m is None else m
            room = length - x.shape[1]
            pairs.append((nn.functional.pad(x, (0, 0, 0, room)), nn.functional.pad(m, (0, room))))
        return torch.cat([x for x, _ in pairs]), torch.cat([m for _, m in pairs])

    def _per_frame(self, actions: Tensor, first: int, frames: int) -> tuple[Tensor, Tensor]:
        """Normalised actions, `temporal` of them joined for each latent frame.

        Args:
            actions: raw `b n a`; the first `temporal` of them lead to latent frame `first`.

        Returns:
            `b frames (temporal a)`, zero where unknown, and bool `b frames`: where they are known.
        """
        spec, step = self.setting.actions, self.tokenizer.temporal
        assert spec is not None
        actions = actions.to(self._device, self.network.embed.weight.dtype)
        if spec.mean:
            actions = (actions - actions.new_tensor(spec.mean)) / actions.new_tensor(spec.std or (1.0,) * spec.dim).clamp(
                min=1e-6
            )
        joined = rearrange(actions[:, : (frames - first) * step], "b (t k) a -> b t (k a)", k=step)
        known = torch.arange(frames, device=self._device) >= first
        return nn.functional.pad(joined, (0, 0, first, 0)), known.expand(len(actions), -1)

    def _act(self, vectors: Tensor, known: Tensor) -> Tensor:
        """What each latent frame's actions add to its inputs: `b t dim`, zero where they are unknown."""
        return self.actions(vectors) * known.unsqueeze(-1)

    def _planned(self, actions: Tensor | None, rows: int, known: int, frames: int) -> Tensor | None:
        """The actions of a rollout as what they add, for given and further frames: `b (known + frames) dim`."""
        step = self.tokenizer.temporal
        fresh, whole = (frames if known else frames - 1) * step, (known + frames - 1) * step
        self.check_actions(actions, fresh)
        if actions is None:
            return None
        count = actions.shape[1]
        if len(actions) != rows:
            raise BadInput(f"{rows} rows want {rows} rows of actions; got {len(actions)}.")
        if not known and count == fresh + 1:
            actions, count = actions[:, 1:], fresh  # the one that would lead to the very first frame
        if count not in (fresh, whole):
            also = "" if whole == fresh else f", or {whole} with those between the given frames"
            raise BadInput(f"{frames} further latent frames want {fresh} actions ({step} each){also}; got {count}.")
        vectors, there = self._per_frame(actions, 1 if count == whole else known, known + frames)
        return self._act(vectors, there)

    def _extra(self, vectors: Tensor) -> Callable[[int, int], Tensor]:
        """From a run of inputs to what actions add to them: an input carries the action of the frame whose token it predicts."""
        shift = 0 if self.config.network.begin else self.config.network.block

        def added(start: int, end: int) -> Tensor:
            frame = (torch.arange(start, end, device=vectors.device) + shift) // self.cells
            return vectors[:, frame]

        return added


AUTOREGRESSIVE: dict[str, AutoregressiveConfig] = {
    "ar-nano": AutoregressiveConfig(SIZES["nano"]),
    "ar-tiny": AutoregressiveConfig(SIZES["tiny"]),
    "ar-4b": AutoregressiveConfig(SIZES["4b"], frames=5, height=40, width=64),
    "ar-5b": AutoregressiveConfig(SIZES["5b"], frames=5, height=40, width=64),
    "ar-12b": AutoregressiveConfig(SIZES["12b"], frames=5, height=40, width=64),
    "ar-13b": AutoregressiveConfig(SIZES["13b"], frames=5, height=40, width=64),
}
