"""Video that arrives, or is shown, piece by piece, through a tokenizer that carries what it must remember."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from armillary.errors import BadInput
from armillary.nn.conv import Reel
from armillary.tokenizers.tokenizer import Tokenizer
from armillary.types import Latents, Tokens


class Stream:
    """A clip that arrives, or is shown, bit by bit. One direction each way can run at the same time; start anew for another clip.

    The first call of `encode` takes 1 + temporal·k frames, later ones temporal·k; `decode` takes any number of latent frames, and gives
    one frame for the clip's first latent and `temporal` for every other. Joined, the answers of a causal video tokenizer are those of the
    whole clip, bit by bit; an image tokenizer's agree up to rounding.
    Memory: the convolutions keep two frames each; the attention over time at the waist keeps what `Tokenizer.history` says.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # One for the frame, or for each of its tiles.
        self._encoding: list[Reel] = []
        self._decoding: list[Reel] = []

    @torch.no_grad()
    def encode(self, video: Tensor) -> Latents | Tokens:
        """The next frames, float `b 3 t h w` in [-1, 1].

        Raises:
            BadInput: as `Tokenizer.encode`; also for another number of clips than before.
        """
        tokenizer = self.tokenizer
        tokenizer.check_video(video)
        if not tokenizer.config.video:
            return tokenizer.encode(video)
        self._check_batch(self._encoding, len(video))
        if not self._encoding:
            tokenizer.frames_to_latents(video.shape[2])
        elif video.shape[2] % tokenizer.temporal:
            raise BadInput(f"After the first frames a stream takes {tokenizer.temporal}·k more; got {video.shape[2]}.")
        network, reels = tokenizer.inference(), self._reels(self._encoding, len(video))

        def embed(x: Tensor) -> Tensor:
            return torch.cat(list(tokenizer._frames(x, next(reels), tokenizer.temporal, 2, network.embed)), dim=-3)

        return tokenizer._encode(video.to(tokenizer.device, tokenizer.dtype), embed)

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
        self._check_batch(self._decoding, len(values))
        network, reels = tokenizer.inference(), self._reels(self._decoding, len(values))

        def run(x: Tensor, reel: Reel) -> Tensor:
            return network.render(tokenizer._open(x), reel).clamp(-1, 1)

        def render(x: Tensor) -> Tensor:
            return torch.cat(list(tokenizer._frames(x, next(reels), 1, 1 if tokenizer.vocab else 2, run)), dim=-3)

        return tokenizer._decode(values.to(tokenizer.device), render)

    def _reels(self, known: list[Reel], batch: int) -> Iterator[Reel]:
        """Those of the tiles in turn, new ones where there are none yet."""
        yield from known[:]
        while True:
            known.append(Reel(batch, keep=True, limit=self.tokenizer.history))
            yield known[-1]

    @staticmethod
    def _check_batch(reels: list[Reel], batch: int) -> None:
        if reels and reels[0].batch != batch:
            raise BadInput(f"This stream carries {reels[0].batch} clips; got {batch}. Start another stream for other clips.")
