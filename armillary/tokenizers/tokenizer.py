"""A tokenizer as others use it: video in, `Latents` or `Tokens` out, and back; checked, without gradients, and in bounded memory.

Long or large clips run through in pieces: a few frames at a time, what the causal layers must remember carried along. The cut depends on
the frame size alone, so the same clip always gives the same bits. `Stream` is the same thing for frames that arrive one by one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.nn.conv import Reel
from armillary.tokenizers.autoencoder import Autoencoder, TokenizerConfig
from armillary.types import Latents, Tokens

# Pixels that run through at once (a piece is never less than one latent frame of one clip).
PIXELS = 1 << 20


class Tokenizer(Autoencoder):
    """An autoencoder with manners.

    Attributes:
        name: the shipped name or folder it was loaded from; `sha256`: of its weights. Both empty when freshly built.
        extra: what else its checkpoint folder says of it.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config)
        self.name, self.sha256 = "", ""
        self.extra: dict[str, object] = {}

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
        step = max(1, PIXELS // (video.shape[3] * video.shape[4] * self.temporal))
        latents = self._pieces(video, self.temporal, step, lambda x, reel: self._seal(self.embed(x.to(self.dtype), reel)))
        return Tokens(latents, self.vocab) if self.vocab else Latents(latents)

    @torch.no_grad()
    def decode(self, latents: Latents | Tokens | Tensor) -> Tensor:
        """What `encode` gave (or a bare tensor of the same shape) -> video `b 3 t h w` in [-1, 1].

        Raises:
            BadInput: for latents of another tokenizer: kind, rank, channels or vocabulary.
        """
        values = self.check_latents(latents)
        height, width = values.shape[-2] * self.spatial, values.shape[-1] * self.spatial
        step = max(1, PIXELS // (height * width * self.temporal))
        time = 1 if self.vocab else 2
        return self._pieces(values, 1, step, lambda x, reel: self.render(self._open(x), reel).clamp(-1, 1), time)

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

    def _pieces(self, x: Tensor, unit: int, step: int, run: Callable[[Tensor, Reel], Tensor], time: int = 2) -> Tensor:
        """Run `x` through in pieces of `step` latent frames (`unit` entries of axis `time` each) and join what comes out.

        The first entry counts as a whole latent frame. Rows that fit a piece together run together.
        """
        x = x.to(self.device)
        length = x.shape[time]
        if not self.config.video:
            # Each frame alone: the time axis is only more rows.
            rows = x.movedim(time, 1).flatten(0, 1).unsqueeze(time)
            done = [run(part, Reel(len(part))) for part in rows.split(step)]
            out = torch.cat(done).squeeze(-3).unflatten(0, (len(x), length))
            return out.movedim(1, -3)
        latents = 1 + (length - 1) // unit
        if latents <= step:
            return torch.cat([run(part, Reel(len(part))) for part in x.split(max(1, step // latents))])
        rows = []
        for row in x.split(1):
            reel, done, at = Reel(1, keep=True), [], 0
            while at < length:
                end = min(length, at + step * unit if at else 1 + (step - 1) * unit)
                done.append(run(row.narrow(time, at, end - at), reel))
                reel.started, at = True, end
            rows.append(torch.cat(done, dim=-3))
        return torch.cat(rows)

    def check_video(self, video: Tensor) -> None:
        """Everything but the length, which depends on whether a clip starts here.

        Raises:
            BadInput: in one sentence.
        """
        wanted = "video as float b 3 t h w in [-1, 1]"
        if not isinstance(video, Tensor):
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got a {type(video).__name__}.")
        if video.ndim != 5 or video.shape[1] != 3:
            raise BadInput(f"{self.label.capitalize()} encodes {wanted}; got shape {tuple(video.shape)}.")
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
        return latents


class Stream:
    """A clip that arrives, or is shown, bit by bit. One direction each way can run at the same time; start anew for another clip.

    The first call of `encode` takes 1 + temporal·k frames, later ones temporal·k; `decode` takes any number of latent frames, and gives
    one frame for the clip's first latent and `temporal` for every other. Joined, the answers are those of the whole clip up to rounding.
    Memory: the convolutions keep two frames each; the causal attention at the waist keeps its keys and values of all latent frames before,
    8 bytes x width for each latent cell.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._encoding: Reel | None = None
        self._decoding: Reel | None = None

    @torch.no_grad()
    def encode(self, video: Tensor) -> Latents | Tokens:
        """The next frames, float `b 3 t h w` in [-1, 1].

        Raises:
            BadInput: as `Tokenizer.encode`; also for another number of clips than before.
        """
        tokenizer = self.tokenizer
        tokenizer.check_video(video)
        reel = self._encoding or Reel(len(video), keep=True)
        self._check_batch(reel, len(video))
        if not reel.started:
            tokenizer.frames_to_latents(video.shape[2])
        elif video.shape[2] % tokenizer.temporal:
            raise BadInput(f"After the first frames a stream takes {tokenizer.temporal}·k more; got {video.shape[2]}.")
        if not tokenizer.config.video:
            return tokenizer.encode(video)
        values = tokenizer._seal(tokenizer.embed(video.to(tokenizer.device, tokenizer.dtype), reel))
        reel.started, self._encoding = True, reel
        return Tokens(values, tokenizer.vocab) if tokenizer.vocab else Latents(values)

    @torch.no_grad()
    def decode(self, latents: Latents | Tokens | Tensor) -> Tensor:
        """The frames of the next latents.

        Raises:
            BadInput: as `Tokenizer.decode`; also for another number of clips than before.
        """
        tokenizer = self.tokenizer
        values = tokenizer.check_latents(latents)
        if not tokenizer.config.video:
            return tokenizer.decode(values)
        reel = self._decoding or Reel(len(values), keep=True)
        self._check_batch(reel, len(values))
        video = tokenizer.render(tokenizer._open(values.to(tokenizer.device)), reel).clamp(-1, 1)
        reel.started, self._decoding = True, reel
        return video

    @staticmethod
    def _check_batch(reel: Reel, batch: int) -> None:
        if reel.batch != batch:
            raise BadInput(f"This stream carries {reel.batch} clips; got {batch}. Start another stream for other clips.")
