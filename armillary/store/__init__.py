"""Where things lie: paths of any scheme, writes that are whole or absent, and checkpoint folders that can rebuild their model."""

from armillary.store.atomic import (
    atomic_dir,
    atomic_path,
    check_writable,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from armillary.store.folder import CheckpointFolder, load_folder, save_folder
from armillary.store.paths import find_weights, weights_root

__all__ = [
    "CheckpointFolder",
    "atomic_dir",
    "atomic_path",
    "check_writable",
    "find_weights",
    "load_folder",
    "read_json",
    "save_folder",
    "sha256_file",
    "weights_root",
    "write_bytes",
    "write_json",
    "write_text",
]
