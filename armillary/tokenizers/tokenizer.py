"""A tokenizer as others use it: video in, `Latents` or `Tokens` out, and back; checked, without gradients, and in bounded memory.

A causal video tokenizer always goes one latent frame at a time, with what its layers must remember carried along: a whole clip is the
loop over its latent frames, and `stream.Stream`, which takes them as they come, gives the same bits whatever the pieces. Clips of a batch
that are small run side by side; how many depends on the frame size alone. An image tokenizer takes frames as rows of such batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.nn.conv import Reel
from armillary.tokenizers import int8
from armillary.tokenizers.autoencoder import Autoencoder, TokenizerConfig
from armillary.tokenizers.compiled import compiled
from armillary.tokenizers.fast import folded
from armillary.tokenizers.tiling import tiled
from armillary.types import Latents, Tokens

# Pixels that run through at once, over the clips of a batch (never less than one latent frame of one clip).
PIXELS = 1 << 20

Engine = Literal["auto", "plain", "folded", "int8", "compiled"]


class Tokenizer(Autoencoder):
    """An autoencoder with manners.

    Attributes:
        name: the shipped name or folder it was loaded from; `sha256`: of its weights. Both empty when freshly built.
        extra: what else its checkpoint folder says of it.
        history: latent frames that the attention over time at the waist looks back on; 0 for all, as trained. It is what grows with a
            clip: 8 bytes x width for each cell and latent frame (an hour at 30 frames a second, 128 pixels, 8x8x8 and width 512: 14 GB).
            With a number memory is bounded, and from there on results are another network's.
        tile: pixels on a side of the tiles that larger frames are run in (see `tiling`); 0 for whole frames, as trained.
        engine: how the network is arranged: `folded` for CPUs (see `fast`), `int8` for those with VNNI (see `int8`; clips of a batch then
            run one by one, so that none depends on its neighbours), `plain` as trained, `compiled` for GPUs (see `compiled`). `auto` is
            `folded` on a CPU and `plain` elsewhere.
    """

    engine: Engine

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config)
        self.name, self.sha256 = "", ""
        self.extra: dict[str, object] = {}
        self.history = self.tile = 0
        self.engine = "auto"
        self._arranged: tuple[object, Autoencoder] | None = None

    def inference(self) -> Autoencoder:
        """The same network arranged for inference as `engine` says, made when first asked for and again when a weight has changed.

        Raises:
            BadInput: an engine this machine, device or precision has not.
        """
        engine = self.engine
        if engine == "auto":
            engine = "folded" if self.device.type == "cpu" else "plain"
        state = (engine, [(p.data_ptr(), p._version, p.device, p.dtype) for p in self.parameters()])
        if self._arranged is None or self._arranged[0] != state:
            # The plain class: nothing of this one's belongs into the copy.
            plain = Autoencoder.__new__(Autoencoder)
            plain.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("_arranged", "extra")})
            self._arranged = (state, self._arrange(plain, engine))
        return self._arranged[1]

    def _arrange(self, plain: Autoencoder, engine: str) -> Autoencoder:
        if engine == "plain":
            return plain
        if engine == "folded":
            return folded(plain)
        if engine == "int8":
            int8.check(self.device, self.dtype)
            return int8.rounded(folded(plain))
        if engine == "compiled":
            return compiled(plain)
        raise BadInput(f"An engine is one of {', '.join(get_args(Engine))}; got {engine!r}.")

    def forget(self) -> None:
        """Drop the copy that `inference` keeps, and the memory it takes where it lies."""
        self._arranged = None

    @property
    def temporal(self) -> int:
        """Frames a latent frame stands for (the first stands for one)."""
        return self.config.temporal

    @property
    def spatial(self) -> int:
        """Pixels a latent cell stands for, on each side."""
        return self.config.spatial

    @property
    def vocab(self) -> int:
        """Number of codes; 0 when continuous."""
        return self.config.vocab

    @property
    def label(self) -> str:
        return f"tokenizer {self.name!r}" if self.name else "this tokenizer"

    def frames_to_latents(self, frames: int) -> int:
        """1 + temporal·k -> 1 + k.

        Raises:
            BadInput: for any other number, with the nearest two that work.
        """
        k, rest = divmod(frames - 1, self.temporal)
        if frames < 1 or rest:
            low = max(1, 1 + self.temporal * max(k, 0))
            raise BadInput(
                f"{self.label.capitalize()} takes 1 + {self.temporal}·k frames, for instance {low} or {low + self.temporal}; got {frames}."
            )
        return 1 + k

    def latents_to_frames(self, latents: int) -> int:
        """1 + k -> 1 + temporal·k."""
        if latents < 1:
            raise BadInput(f"At least one latent frame is wanted; got {latents}.")
        return 1 + self.temporal * (latents - 1)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Latents | Tokens:
        """Video float `b 3 t h w` in [-1, 1], t = 1 + temporal·k -> `Latents` `b c 1+k h/s w/s`, or `Tokens` `b 1+k h/s w/s`.

        Raises:
            BadInput: for another rank, type, range, length or size, saying what would work.
        """
        self.check_video(video)
        self.frames_to_latents(video.shape[2])
        network = self.inference()

        def embed(x: Tensor) -> Tensor:
            area = x.shape[3] * x.shape[4]
            return self._pieces(x, self.temporal, 2, area, lambda y, reel: network.embed(y.to(self.dtype), reel))

        return self._encode(video, embed)

    def _encode(self, video: Tensor, embed: Callable[[Tensor], Tensor]) -> Latents | Tokens:
        """`embed` over the whole frame or its tiles, rounded where the tokenizer is discrete."""
        if self._tiles(video.shape[3] // self.spatial, video.shape[4] // self.spatial):
            latents = tiled(video, embed, *self._tile, (self.spatial, 1))
        else:
            latents = embed(video)
        return Tokens(self._seal(latents), self.vocab) if self.vocab else Latents(latents)

    @torch.no_grad()
    def decode(self, latents: Latents | Tokens | Tensor) -> Tensor:
        """What `encode` gave (or a bare tensor of the same shape) -> video `b 3 t h w` in [-1, 1].

        Raises:
            BadInput: for latents of another tokenizer: kind, rank, channels or vocabulary.
        """
        values = self.check_latents(latents)
        network = self.inference()

        def render(x: Tensor) -> Tensor:
            area, time = x.shape[-2] * x.shape[-1] * self.spatial**2, 1 if self.vocab else 2
            return self._pieces(x, 1, time, area, lambda y, reel: network.render(self._open(y), reel).clamp(-1, 1))

        return self._decode(values, render)

    def _decode(self, values: Tensor, render: Callable[[Tensor], Tensor]) -> Tensor:
        """`render` of the whole frame or its tiles."""
        if self._tiles(*values.shape[-2:]):
            return tiled(values, render, *self._tile, (1, self.spatial))
        return render(values)

    @property
    def _tile(self) -> tuple[int, int]:
        """(tile, overlap) in latent cells: neighbours share a quarter."""
        return self.tile // self.spatial, max(1, self.tile // self.spatial // 4)

    def _tiles(self, height: int, width: int) -> bool:
        """Whether frames of so many latent cells are run in tiles.

        Raises:
            BadInput: tiles too small to overlap.
        """
        if self.tile and self.tile < 4 * self.spatial:
            raise BadInput(f"Tiles of {self.label} are {4 * self.spatial} pixels or more a side; got {self.tile}.")
        return bool(self.tile) and max(height, width) > self.tile // self.spatial

    def reconstruct(self, video: Tensor) -> Tensor:
        """`decode(encode(video))`."""
        return self.decode(self.encode(video))

    @property
    def dtype(self) -> torch.dtype:
        return self.quant_conv.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.quant_conv.weight.device

    def _seal(self, latents: Tensor) -> Tensor:
        return latents if self.quantizer is None else self.quantizer.ids(self.quantizer(latents))

    def _open(self, values: Tensor) -> Tensor:
        return values.to(self.dtype) if self.quantizer is None else self.quantizer.codes(values, self.dtype)

    def _pieces(self, x: Tensor, unit: int, time: int, pixels: int, run: Callable[[Tensor, Reel], Tensor]) -> Tensor:
        """Run `x` through and join what comes out.

        Args:
            unit: entries of axis `time` that one latent frame takes; the first takes one. pixels: of a frame.
        """
        x = x.to(self.device)
        length, rows = x.shape[time], max(1, PIXELS // (pixels * self.temporal))
        if self.engine == "int8":
            rows = 1
        if not self.config.video:
            # Each frame alone: the time axis is only more rows.
            frames = x.movedim(time, 1).flatten(0, 1).unsqueeze(time)
            out = torch.cat([run(part, Reel(len(part))) for part in frames.split(rows)])
            return out.squeeze(-3).unflatten(0, (len(x), length)).movedim(1, -3)
        done = []
        for some in x.split(rows):
            reel = Reel(len(some), keep=True, limit=self.history)
            done.append(torch.cat(list(self._frames(some, reel, unit, time, run)), dim=-3))
        return torch.cat(done)

    def _frames(self, x: Tensor, reel: Reel, unit: int, time: int, run: Callable[[Tensor, Reel], Tensor]) -> Iterator[Tensor]:
        """Latent frame by latent frame, from where `reel` stands."""
        at = 0
        while at < x.shape[time]:
            wide = unit if reel.started else 1
            yield run(x.narrow(time, at, wide), reel)
            reel.started, at = True, at + wide

    def check_video(self, video: Tensor) -> None:
        """Everything but the length, which depends on whether a clip starts here.

        Raises:
            BadInput: in one sentence.
        """
        wanted = "video as float b 3 t h w in [-1, 1]"
        if not isinstance(video, Tensor):
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got a {type(video).__name__}.")
        if video.ndim != 5 or video.shape[1] != 3:
            alpha = " Leave the alpha channel out: video[:, :3]." if video.ndim == 5 and video.shape[1] == 4 else ""
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got shape {tuple(video.shape)}.{alpha}")
        if not video.is_floating_point():
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got {video.dtype}. Stored frames are x / 127.5 - 1.")
        if 0 in video.shape:
            raise BadInput(f"There is nothing to encode: shape {tuple(video.shape)}.")
        height, width = video.shape[3:]
        if height % self.spatial or width % self.spatial:
            fit = (max(1, round(height / self.spatial)) * self.spatial, max(1, round(width / self.spatial)) * self.spatial)
            raise BadInput(
                f"Height and width are multiples of {self.spatial} for {self.label}; got {height} x {width}. "
                f"Resize or crop to {fit[0]} x {fit[1]}."
            )
        low, high = (float(v) for v in torch.aminmax(video))
        # A little overshoot is what interpolation leaves; NaN fails the comparison too.
        if not (low >= -1.05 and high <= 1.05):
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got values from {low:.3g} to {high:.3g}.")

    def check_latents(self, latents: Latents | Tokens | Tensor) -> Tensor:
        """The bare tensor, when it is one this tokenizer can decode.

        Raises:
            BadInput: in one sentence.
        """
        who = self.label.capitalize()
        if isinstance(latents, Tokens):
            if latents.vocab != self.vocab:
                raise BadInput(f"{who} has {self.vocab or 'no'} codes; these tokens are of a tokenizer with {latents.vocab}.")
            latents = latents.ids
        elif isinstance(latents, Latents):
            if self.vocab:
                raise BadInput(f"{who} is discrete and decodes Tokens; got Latents.")
            latents = latents.values
        if self.vocab:
            if latents.ndim != 4 or latents.is_floating_point():
                raise BadInput(f"{who} decodes token ids, int64 b t h w; got {latents.dtype} {tuple(latents.shape)}.")
        elif latents.ndim != 5 or latents.shape[1] != self.config.channels or not latents.is_floating_point():
            raise BadInput(
                f"{who} decodes latents, float b {self.config.channels} t h w; got {latents.dtype} {tuple(latents.shape)}."
            )
        if 0 in latents.shape:
            raise BadInput(f"There is nothing to decode: shape {tuple(latents.shape)}.")
        # A dry run's tensors have no numbers to look at; they are of a type of their own.
        if not self.vocab and type(latents) is Tensor and not torch.isfinite(latents).all():
            raise BadInput(f"{who} decodes finite numbers; these latents hold NaN or infinity.")
        return latents
