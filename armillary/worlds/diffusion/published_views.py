"""The six-camera members of the first published generation: the network by itself, and what their views and trajectory add to it.

They concatenate a view's vector, and one made of the trajectory, to the latent, as further channels of the first layer. Those channels are
the same in every cell of a patch, so that their part of the layer is, summed over a patch's cells, a layer of the vector alone: what
`conditioning.ViewsCondition` and `TrajectoryCondition` put on the `channels` port. The names given to it here are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from armillary.errors import BadInput

PATCH = "x_embedder.proj.1.weight"
# Published name -> name in `{"views": ViewsCondition(...), "trajectory": TrajectoryCondition(...)}`.
NAMES = {
    "view_embeddings.weight": "views.embedding.weight",
    "repeat_frame_embedding.weight": "views.repeat.weight",
    "repeat_frame_embedding.bias": "views.repeat.bias",
    "traj_embeddings.weight": "trajectory.read.weight",
    "traj_embeddings.bias": "trajectory.read.bias",
}


def parted(tensors: Mapping[str, Tensor], cells: int, where: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state dict of NVIDIA's without views, and what they and a trajectory add; the latter is empty where there are none.

    Args:
        cells: of a patch.

    Raises:
        BadInput: the first layer has no room for their vectors.
    """
    views, way = tensors.get("view_embeddings.weight"), tensors.get("traj_embeddings.weight")
    if views is None:
        return dict(tensors), {}
    found = {ours: tensors[theirs] for theirs, ours in NAMES.items() if theirs in tensors}
    widths = {"views": views.shape[-1]} | ({} if way is None else {"trajectory": way.shape[0]})
    patch = tensors[PATCH] if PATCH in tensors else views.new_zeros(0, 0)
    channels = patch.shape[1] // cells - sum(widths.values())
    if channels < 1 or patch.shape[1] % cells:
        raise BadInput(
            f"{where} is of no network this version has: {patch.shape[1]} numbers into a patch leave no room for views."
        )
    rest = {k: v for k, v in tensors.items() if k not in NAMES} | {PATCH: patch[:, : channels * cells]}
    for name, width in widths.items():
        part = patch[:, channels * cells : (channels + width) * cells]
        found[f"{name}.down.weight"] = part.unflatten(1, (width, cells)).sum(-1)
        channels += width
    return rest, found
