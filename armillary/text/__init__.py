"""Text for worlds: sentences to embeddings, and short prompts to the style of captions."""

from armillary.text.cache import CachedEncoder
from armillary.text.encoders import ENCODERS, TextEncoder, load
from armillary.text.prompt import check_prompt
from armillary.text.upsample import UPSAMPLERS, Upsampler, upsampler

__all__ = ["ENCODERS", "UPSAMPLERS", "CachedEncoder", "TextEncoder", "Upsampler", "check_prompt", "load", "upsampler"]
