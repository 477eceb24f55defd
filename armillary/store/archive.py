"""Tensors out of PyTorch's zip archives (`torch.save`, `torch.jit.save`), and nothing else: no code in them is run.

Such an archive holds one program for an unpickler (`data.pkl`), which names classes and functions to call, and one record of raw bytes a
storage (`data/0`, ...). Here that program is neither executed nor given to an unpickler: its opcodes are walked one by one, an object of
any class becomes an inert bag of attributes, and the only calls that are answered are those that describe a tensor. What is not among
the two dozen opcodes and the few names that weights need is an error, and so is a tensor that is larger than the bytes it names.
Source: the format as `torch.load` and `torch.jit.load` read it; opcodes as `pickletools` documents them.
"""

from __future__ import annotations

import contextlib
import math
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armillary.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

MAX_PROGRAM = 16 << 20  # bytes of data.pkl; those of the largest published models have some 2 MB
MAX_NAME = 1000  # characters of a tensor's path
MAX_INT = 1 << 62
MAX_VISITS = 1 << 18  # values looked at in one archive: a program of a few bytes can spell out more than any memory holds

# Storage class -> torch dtype, by name.
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
REBUILD = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
# Of no use here and harmless as bags; any other name is refused.
# An `_extra_state` of TransformerEngine is a BytesIO, and bytes are written as encoded text.
INERT = (
    "_io.BytesIO",
    "_codecs.encode",
    "torch.jit._pickle.",
    "__torch__.",
    "torch.Size",
    "torch.device",
    "torch.float",
    "torch.bfloat16",
    "torch.int",
)
MARK = object()


@dataclass(frozen=True)
class _Name:
    """A class or function that the program names; never looked up."""

    name: str


@dataclass
class Bag:
    """What would have been an object of class `name`: its state, and the arguments it would have been made with."""

    name: str
    args: Any = ()
    state: Any = None


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    numel: int


@dataclass(frozen=True)
class Record:
    """A tensor as the program describes it, not yet read."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def is_archive(path: str | Path) -> bool:
    """Whether the file begins like a zip archive."""
    with Path(path).open("rb") as f:
        return f.read(4) == b"PK\x03\x04"


def read_archive(path: str | Path, mapped: bool = False) -> dict[str, Tensor]:
    """Every tensor of an archive, by its path in the object it held: `encoder.conv_in.0.conv3d.weight`, or `0` and `1` in a pair.

    Strings and numbers beside them are passed over. Tensors that share memory in the file share it here.

    Args:
        mapped: leave the bytes in the file until they are used (a private mapping; writing to a tensor leaves the file as it is), for
            weights that memory would not hold twice. They are read once here, for their checksums, and let go.

    Raises:
        BadInput: cut short, damaged, of an older format, or holding what no weights hold; named.
    """
    with _opened(Path(path), mapped) as reader:
        return reader.tensors()


def archive_names(path: str | Path) -> list[str]:
    """The names that `read_archive` would give, without reading a tensor."""
    with _opened(Path(path), mapped=True) as reader:
        return [name for name, _ in reader.records()]


@contextlib.contextmanager
def _opened(path: Path, mapped: bool) -> Iterator[_Reader]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Reader(path, archive, mapped)
    except BadInput:
        raise
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, OverflowError, struct.error) as error:
        # The words of zipfile for a file that is torn, encrypted or odd; NotImplementedError is a RuntimeError.
        raise BadInput(f"{path} is cut short or damaged: {error}.") from error


class _Reader:
    def __init__(self, path: Path, archive: zipfile.ZipFile, mapped: bool) -> None:
        self.path, self.archive, self.mapped = path, archive, mapped
        infos = archive.infolist()
        self.entries = {i.filename: i for i in infos}
        programs = [n for n in self.entries if n == "data.pkl" or n.endswith("/data.pkl")]
        programs = [n for n in programs if n.count("/") == min(p.count("/") for p in programs)]
        if len(programs) != 1:
            raise BadInput(f"{path} is a zip file but no PyTorch archive: it holds {len(programs)} data.pkl.")
        if len(self.entries) != len(infos):
            raise BadInput(f"{path} holds two records of one name.")
        self.program, self.root = programs[0], programs[0].removesuffix("data.pkl")
        self.storages: dict[str, tuple[_Storage, Tensor]] = {}
        self.whole: Any = None  # the file as a storage, where it is mapped
        # Bytes of the file, of the storages that were read, and of all tensors in them.
        self.size, self.read, self.spelt = path.stat().st_size, 0, 0

    def bad(self, what: str) -> BadInput:
        return BadInput(f"{self.path}: {what}.")

    def entry(self, name: str, limit: int) -> zipfile.ZipInfo:
        """A record, which lies in the archive as it is, so that none is larger than the file."""
        entry = self.entries.get(self.root + name)
        if entry is None:
            raise self.bad(f"record {name!r} is missing")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise self.bad(f"record {name!r} is compressed; PyTorch stores weights as they are")
        if entry.file_size > limit:
            raise self.bad(f"record {name!r} has {entry.file_size} bytes where {limit} are wanted")
        return entry

    def record(self, name: str, limit: int) -> bytearray:
        """The bytes of a record."""
        entry = self.entry(name, limit)
        data = bytearray()
        with self.archive.open(entry) as f:  # checks the record's checksum as it reads
            while part := f.read(1 << 24):
                data += part
        if len(data) != entry.file_size:
            raise self.bad(f"record {name!r} is cut short")
        return data

    def records(self) -> Iterator[tuple[str, Record]]:
        if f"{self.root}byteorder" in self.entries and bytes(self.record("byteorder", 16)) != b"little":
            raise self.bad("its numbers are big-endian")
        yield from self.leaves(self.walk(bytes(self.record("data.pkl", MAX_PROGRAM))))

    def tensors(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, record in self.records():
            if name in out:
                raise self.bad(f"it holds two tensors {name!r}")
            out[name] = self.tensor(name, record)
        return out

    def walk(self, program: bytes) -> Any:
        """The object the program would have made, of inert parts."""
        stack: list[Any] = []
        memo: dict[int, Any] = {}

        def above_mark() -> list[Any]:
            at = len(stack) - 1
            while stack[at] is not MARK:
                at -= 1
            items = stack[at + 1 :]
            del stack[at:]
            return items

        def top(kind: type) -> Any:
            if type(stack[-1]) is not kind:
                raise self.bad(f"its program adds items to a {type(stack[-1]).__name__}")
            return stack[-1]

        try:
            for opcode, arg, _ in pickletools.genops(program):
                op = opcode.name
                if op in ("PROTO", "FRAME"):
                    continue
                if op == "STOP":
                    return stack.pop()
                if op == "MARK":
                    stack.append(MARK)
                elif op in ("NONE", "NEWTRUE", "NEWFALSE"):
                    stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[op])
                elif op in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"):
                    stack.append(arg)
                elif op in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
                    stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[op])
                elif op in ("BINPUT", "LONG_BINPUT"):
                    memo[arg] = stack[-1]  # type: ignore[index]
                elif op == "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                elif op in ("BINGET", "LONG_BINGET"):
                    stack.append(memo[arg])  # type: ignore[index]
                elif op == "TUPLE":
                    stack.append(tuple(above_mark()))
                elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
                    n = int(op[-1])
                    items = tuple(stack[-n:])
                    del stack[-n:]
                    stack.append(items)
                elif op == "APPEND":
                    item = stack.pop()
                    top(list).append(item)
                elif op == "APPENDS":
                    items = above_mark()
                    top(list).extend(items)
                elif op in ("SETITEM", "SETITEMS"):
                    pairs = above_mark() if op == "SETITEMS" else [stack.pop(-2), stack.pop()]
                    if not all(type(k) in (str, int) for k in pairs[::2]):  # hashing a nested tuple can take for ever
                        raise self.bad("its program has keys that are neither text nor numbers")
                    top(dict).update(zip(pairs[::2], pairs[1::2], strict=True))
                elif op == "GLOBAL":
                    stack.append(self.name(str(arg).replace(" ", ".", 1)))
                elif op == "STACK_GLOBAL":
                    name = stack.pop()
                    stack.append(self.name(f"{stack.pop()}.{name}"))
                elif op == "BINPERSID":
                    stack.append(self.storage(stack.pop()))
                elif op in ("REDUCE", "NEWOBJ"):
                    args = stack.pop()
                    stack.append(self.call(stack.pop(), args))
                elif op == "BUILD":
                    state = stack.pop()
                    if isinstance(stack[-1], Bag):
                        stack[-1].state = state
                else:
                    raise self.bad(f"its program uses {op}, which no weights need")
        except BadInput:
            raise
        except Exception as error:  # a malformed program fails wherever it happens to
            raise self.bad(f"its program is damaged ({type(error).__name__})") from error
        raise self.bad("its program does not end")

    def name(self, name: str) -> _Name:
        known = name == "collections.OrderedDict" or name in REBUILD + PARAMETER or name.startswith(INERT)
        if not known and name.removeprefix("torch.") not in STORAGES:
            raise self.bad(f"it names {name}, which no weights need; nothing of it was run")
        return _Name(name)

    def storage(self, key: Any) -> _Storage:
        kind, name, record, _, numel = key
        dtype = STORAGES.get(name.name.removeprefix("torch.")) if isinstance(name, _Name) else None
        if type(kind) is not str or kind != "storage" or dtype is None or type(record) is not str or type(numel) is not int:
            raise self.bad("it describes a storage of no kind this version reads")
        return _Storage(dtype, record, numel)

    def call(self, what: Any, args: Any) -> Any:
        if what.name in REBUILD:
            storage, offset, size, stride = args[:4]
            if not isinstance(storage, _Storage):
                raise self.bad("it describes a tensor without a storage")
            return Record(storage, offset, tuple(size), tuple(stride))
        if what.name in PARAMETER:
            return args[0]
        if what.name == "collections.OrderedDict" and args == ():
            return {}
        return Bag(what.name, args)

    def leaves(self, held: Any) -> Iterator[tuple[str, Record]]:
        """(path, tensor) of all that was held, in order; no recursion, and an end to it."""
        todo, visits = [("", held)], 0
        while todo:
            visits += 1
            if visits > MAX_VISITS or len(todo) > MAX_VISITS:
                raise self.bad(f"it spells out more than {MAX_VISITS} values")
            path, value = todo.pop()
            if isinstance(value, Record):
                yield path or "tensor", value
                continue
            if isinstance(value, Bag):
                value = value.state if value.state is not None else value.args
            if isinstance(value, dict):
                children = [(str(k), v) for k, v in value.items() if isinstance(k, (str, int))]
            elif isinstance(value, (list, tuple)):
                children = [(str(i), v) for i, v in enumerate(value) if isinstance(v, (Record, Bag, dict, list, tuple))]
            else:
                continue
            if path.count(".") > 100 or len(path) > MAX_NAME:
                raise self.bad("it nests deeper than a hundred objects, or its names are longer than a thousand characters")
            todo.extend((f"{path}.{k}" if path else k, v) for k, v in reversed(children))

    def tensor(self, name: str, record: Record) -> Tensor:
        storage, size, stride = record.storage, record.size, record.stride
        if not all(type(n) is int and 0 <= n < MAX_INT for n in (record.offset, *size, *stride)) or len(size) != len(stride):
            raise self.bad(f"tensor {name!r} has an impossible shape")
        numel = math.prod(size)
        end = record.offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if numel else 0
        if end > storage.numel or numel > storage.numel:
            raise self.bad(f"tensor {name!r} of shape {size} is larger than its storage of {storage.numel} values")
        if storage.key not in self.storages:
            self.storages[storage.key] = storage, self.load(storage)
        held, flat = self.storages[storage.key]
        if held != storage:
            raise self.bad(f"storage {storage.key!r} is described in two ways")
        self.spelt += numel * flat.element_size()
        if self.spelt > 4 * max(self.size, 1 << 20):
            raise self.bad("its tensors are many times larger than the file")
        return flat.as_strided(size, stride, record.offset)

    def load(self, storage: _Storage) -> Tensor:
        import torch

        dtype = getattr(torch, storage.dtype)
        wanted = storage.numel * dtype.itemsize
        self.read += wanted
        if self.read > self.size:
            raise self.bad("its storages are larger than the file")
        if self.mapped and (there := self.map(storage, wanted)) is not None:
            return there
        data = self.record(f"data/{storage.key}", wanted)
        if len(data) != wanted:
            raise self.bad(f"record 'data/{storage.key}' has {len(data)} bytes where {wanted} are wanted")
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def map(self, storage: _Storage, wanted: int) -> Tensor | None:
        """The storage where it lies in the file; `None` for an empty one, or one that begins askew."""
        import torch

        name, dtype = f"data/{storage.key}", getattr(torch, storage.dtype)
        entry = self.entry(name, wanted)
        if entry.file_size != wanted:
            raise self.bad(f"record {name!r} has {entry.file_size} bytes where {wanted} are wanted")
        with self.path.open("rb") as f:
            f.seek(entry.header_offset)
            head = f.read(30)
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        if not wanted or start % dtype.itemsize:
            return None
        with self.archive.open(entry) as f:  # for its checksum
            while f.read(1 << 24):
                pass
        if self.whole is None:
            self.whole = torch.UntypedStorage.from_file(str(self.path), shared=False, nbytes=self.size)
        return torch.empty(0, dtype=dtype).set_(
            self.whole[start : start + wanted]
        )  # a storage of its own, so it is saved alone
