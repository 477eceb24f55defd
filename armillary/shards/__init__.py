"""Clips by the tarful: WebDataset shards, one bucket (resolution, aspect, length) each, the same bytes for the same clips."""

from armillary.shards.export import EXPORTS, Export
from armillary.shards.read import ShardReader, read_manifest, read_shards
from armillary.shards.write import write_shards

__all__ = ["EXPORTS", "Export", "ShardReader", "read_manifest", "read_shards", "write_shards"]
