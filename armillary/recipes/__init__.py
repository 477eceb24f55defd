"""Recipes: a run is a function that takes data and returns a full config, which `--set` may change and `train` runs."""

from __future__ import annotations

from collections.abc import Callable

from armillary.recipes import tabletop, videos
from armillary.train import RunConfig

RECIPES: dict[str, Callable[..., RunConfig]] = {
    "frame-c8-tabletop": tabletop.frame_c8,
    "video-d4x8x8-tabletop": tabletop.video_d4x8x8,
    "unet-tabletop": tabletop.unet,
    "ar-tabletop": tabletop.ar,
    "demo-frame-c8-tabletop": tabletop.demo_frame_c8,
    "demo-video-d4x8x8-tabletop": tabletop.demo_video_d4x8x8,
    "demo-unet-tabletop": tabletop.demo_unet,
    "demo-ar-tabletop": tabletop.demo_ar,
    "frame-c8-videos": videos.frame_c8,
    "video-d4x8x8-videos": videos.video_d4x8x8,
    "unet-videos": videos.unet,
    "ar-videos": videos.ar,
}

__all__ = ["RECIPES"]
