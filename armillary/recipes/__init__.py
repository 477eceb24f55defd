"""Recipes: a run is a function that takes data and returns a full config, which `--set` may change and `train` runs."""

from __future__ import annotations

from collections.abc import Callable

from armillary.recipes import autoregressive, diffusion, distill, driving, posttrain, tabletop, tokenizers, videos
from armillary.train import RunConfig

RECIPES: dict[str, Callable[..., RunConfig]] = {
    "frame-c8-tabletop": tabletop.frame_c8,
    "video-d4x8x8-tabletop": tabletop.video_d4x8x8,
    "unet-tabletop": tabletop.unet,
    "unet-tabletop-words": tabletop.unet_words,
    "distill-unet": distill.unet,
    "distill-words": distill.words,
    "distill-clip": distill.clip,
    "demo-distill-unet": distill.demo_unet,
    "demo-distill-clip": distill.demo_clip,
    "ar-tabletop": tabletop.ar,
    "ar-tabletop-steered": tabletop.ar_steered,
    "ar-tabletop-blocks": autoregressive.blocks,
    "ar-tabletop-heads": autoregressive.heads,
    "refine-tabletop": autoregressive.refine,
    "stream-tabletop": autoregressive.stream,
    "ar-first": autoregressive.first,
    "ar-longer": autoregressive.longer,
    "ar-text": autoregressive.text,
    "ar-cooldown": autoregressive.cooldown,
    "ar-live": autoregressive.live,
    "dit-first": diffusion.first,
    "dit-larger": diffusion.larger,
    "dit-video": diffusion.video,
    "dit-cooldown": diffusion.cooldown,
    "frame-c8-rooms": posttrain.frame_c8_rooms,
    "unet-rooms": posttrain.unet_rooms,
    "unet-tabletop-watch": posttrain.unet_tabletop_watch,
    "dit-driving": driving.base,
    "demo-frame-c8-tabletop": tabletop.demo_frame_c8,
    "demo-video-d4x8x8-tabletop": tabletop.demo_video_d4x8x8,
    "demo-unet-tabletop": tabletop.demo_unet,
    "demo-ar-tabletop": tabletop.demo_ar,
    "demo-dit-driving": driving.demo_base,
    "frame-c8-videos": videos.frame_c8,
    "frame-d8-videos": videos.frame_d8,
    "video-c4x8x8-videos": videos.video_c4x8x8,
    "video-d4x8x8-videos": videos.video_d4x8x8,
    "unet-videos": videos.unet,
    "ar-videos": videos.ar,
    "video-c4x8x8-mixed": tokenizers.video_c4x8x8_mixed,
    "video-d4x8x8-mixed": tokenizers.video_d4x8x8_mixed,
    "tokenizer-first": tokenizers.first,
    "tokenizer-motion": tokenizers.motion,
    "tokenizer-texture": tokenizers.texture,
    "tokenizer-adversary": tokenizers.adversary,
    "ci8x8": tokenizers.ci8x8,
    "ci16x16": tokenizers.ci16x16,
    "di8x8": tokenizers.di8x8,
    "di16x16": tokenizers.di16x16,
    "cv4x8x8": tokenizers.cv4x8x8,
    "cv8x8x8": tokenizers.cv8x8x8,
    "cv8x16x16": tokenizers.cv8x16x16,
    "dv4x8x8": tokenizers.dv4x8x8,
    "dv8x8x8": tokenizers.dv8x8x8,
    "dv8x16x16": tokenizers.dv8x16x16,
}

__all__ = ["RECIPES"]
