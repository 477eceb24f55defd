"""The guard: rails before generation and after it, faces hidden, and a record of what really ran. What cannot be checked does not pass."""

from armillary.guard.checks import check, check_file
from armillary.guard.gate import Gate, Open, Timeouts, raise_if_blocked
from armillary.guard.provenance import record, seal, sha256_pixels, verify
from armillary.guard.rail import Finding, FrameRail, PromptRail, verdicts_json
from armillary.guard.rails import RAILS, default_gate

__all__ = [
    "RAILS",
    "Finding",
    "FrameRail",
    "Gate",
    "Open",
    "PromptRail",
    "Timeouts",
    "check",
    "check_file",
    "default_gate",
    "raise_if_blocked",
    "record",
    "seal",
    "sha256_pixels",
    "verdicts_json",
    "verify",
]
