"""The loss of an autoregressive world: say the next token, and keep the normaliser of the softmax small."""

from __future__ import annotations

import torch
from torch import Tensor


def next_token_loss(logits: Tensor, targets: Tensor, z_loss: float = 1e-4) -> tuple[Tensor, dict[str, Tensor]]:
    """`mean(-log p(target)) + z_loss * mean(log Z ** 2)`, `Z` the softmax's normaliser (paper section 4.2).

    The paper writes the second term as a sum with 3e-4, the published code as a mean with 1e-4; this is the code's form. It keeps the
    logits from drifting, which cross-entropy alone does not see.

    Args:
        logits: float `b n vocab`; computed on in float32.
        targets: int64 `b n`.

    Returns:
        The loss, and for the log: `nll` (nats a token), `accuracy`, `z` (mean of `log Z ** 2`).
    """
    logits = logits.float()
    log_z = torch.logsumexp(logits, dim=-1)
    said = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    nll = (log_z - said).mean()
    z = log_z.square().mean()
    with torch.no_grad():
        accuracy = (said >= logits.amax(-1)).float().mean()
    return nll + z_loss * z, {"nll": nll.detach(), "accuracy": accuracy, "z": z.detach()}
