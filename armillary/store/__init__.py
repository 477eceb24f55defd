"""Where things lie: paths of any scheme, writes that are whole or absent, checkpoint folders, tensors of files."""

from armillary.store.atomic import (
    atomic_dir,
    atomic_path,
    check_writable,
    read_json,
    sha256_file,
    sha256_joined,
    write_bytes,
    write_json,
    write_text,
)
from armillary.store.folder import CheckpointFolder, load_folder, save_folder
from armillary.store.paths import find_weights, weights_root
from armillary.store.tensors import read_tensors, shards_of, tensor_names, write_tensors

__all__ = [
    "CheckpointFolder",
    "atomic_dir",
    "atomic_path",
    "check_writable",
    "find_weights",
    "load_folder",
    "read_json",
    "read_tensors",
    "save_folder",
    "sha256_file",
    "sha256_joined",
    "shards_of",
    "tensor_names",
    "weights_root",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
