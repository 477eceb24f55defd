"""`armillary <verb>`: finds the verb, lets tyro read its arguments off the function's signature, words what goes wrong.

Exit codes: 0 done, 1 failed, 2 bad input. With `--json` standard output carries exactly one JSON object; everything else goes to
standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from armillary import __version__, progress
from armillary.errors import ArmillaryError, BadInput, Blocked, MissingExtra, did_you_mean
from armillary.verbs import VERBS

UNREAD = ("curves", "per_episode")  # of reports: drawn on their page, too many numbers for a terminal
INTERVAL = {"mean", "low", "high"}


def usage(family: str = "") -> str:
    """Of all verbs, or of those whose first word is `family`."""
    shown = {name: verb for name, verb in VERBS.items() if family in ("", name.split(" ")[0])}
    width = max(map(len, shown))
    verbs = "\n".join(f"  {name:<{width}}  {verb.line}" for name, verb in shown.items())
    if family:
        return f"usage: armillary {family} VERB [...] [--json] [--quiet]\n\n{verbs}\n\nEach explains itself with --help."
    return (
        f"armillary {__version__}: world models for physical AI\n\nusage: armillary VERB [...] [--json] [--quiet]\n\n{verbs}\n\n"
        "armillary VERB --help explains a verb and shows an example. --json prints one JSON object on standard output.\n"
        "Start with: armillary doctor, armillary demo"
    )


def find_verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb (one or two words) that `arguments` begins with, and what is left."""
    two = " ".join(arguments[:2])
    if two in VERBS:
        return two, list(arguments[2:])
    if arguments[0] in VERBS:
        return arguments[0], list(arguments[1:])
    family = _family(arguments[0])
    if family:
        raise BadInput(f"armillary {arguments[0]} wants one of: {', '.join(n.split(' ', 1)[1] for n in family)}.")
    raise BadInput(did_you_mean("verb", arguments[0], VERBS))


def _family(word: str) -> list[str]:
    return [name for name in VERBS if name.split(" ")[0] == word]


def plain(result: Any) -> Any:
    """What a verb returned, as JSON-able values."""
    if hasattr(result, "summary"):
        return result.summary()
    if dataclasses.is_dataclass(result) or isinstance(result, Mapping):
        from armillary.presets import to_json

        value = to_json(result)
        if isinstance(value, dict):
            value.pop("kind", None)
        return value
    if isinstance(result, list) and all(hasattr(item, "summary") for item in result):
        return {"result": [item.summary() for item in result]}
    return {"result": result}


def show(value: Any, indent: str = "") -> None:
    """A JSON-able value as indented lines for a reader; `--json` has all of it."""
    for key, item in value.items():
        if key in UNREAD and item:
            print(f"{indent}{key}: with --json")
        elif isinstance(item, dict) and len(item) > 1 and _numbers(item):
            _wrapped(f"{indent}{key}: {_row(item)}", indent)
        elif isinstance(item, dict):
            print(f"{indent}{key}:")
            show(item, indent + "  ")
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            print(f"{indent}{key}:")
            for row in item:
                print(f"{indent}  - {_row(row)}")
        elif item not in (None, "", [], {}):
            print(f"{indent}{key}: {_short(item)}")


def _numbers(item: dict[str, Any]) -> bool:
    """Whether it holds numbers alone, or means with their intervals: what goes on one line."""
    return all(
        v is None or isinstance(v, (int, float)) or (isinstance(v, dict) and v.keys() >= INTERVAL) for v in item.values()
    )


def _wrapped(line: str, indent: str) -> None:
    print(textwrap.fill(line, 140, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False))


def _row(item: dict[str, Any]) -> str:
    if item.keys() >= INTERVAL:
        rest = {k: v for k, v in item.items() if k not in INTERVAL}
        if item["mean"] is None:  # of nothing
            return _row(rest) or "none"
        between = "" if item["low"] is None else f" ({_short(item['low'])} to {_short(item['high'])})"
        return f"{_short(item['mean'])}{between}" + ("  " + _row(rest) if rest else "")
    said = {k: v for k, v in item.items() if v not in ("", None, []) and not (isinstance(v, dict) and v.get("mean", 0) is None)}
    return "  ".join(f"{k}{':' * str(k).isdigit()} {_short(v)}" for k, v in said.items())


def _short(item: Any) -> str:
    if isinstance(item, float):
        return f"{item:.4g}"
    if isinstance(item, list):
        return ", ".join(_short(x) for x in item)
    if isinstance(item, dict) and item.keys() >= INTERVAL:
        return _row({k: item[k] for k in sorted(INTERVAL)})
    return str(item)


def main(arguments: Sequence[str] | None = None) -> None:
    if int(os.environ.get("RANK", "0")):  # of several processes the first one speaks; errors are told by whoever has them
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    if arguments[1:] in (["-h"], ["--help"]) and arguments[0] not in VERBS and _family(arguments[0]):
        print(usage(arguments[0]))
        return 0
    as_json = "--json" in arguments
    progress.QUIET = "--quiet" in arguments or int(os.environ.get("RANK", "0")) > 0
    arguments = [a for a in arguments if a not in ("--json", "--quiet")]
    try:
        name, rest = find_verb(arguments)
        result = call(name, rest, as_json)
    except BadInput as error:
        return complain(error, as_json, 2)
    except MissingExtra as error:
        return complain(error, as_json, 1)
    except Blocked as error:
        return complain(error, as_json, 1)
    except ArmillaryError as error:
        return complain(error, as_json, 1)
    except KeyboardInterrupt:
        return complain(KeyboardInterrupt("Stopped. The same command goes on from here."), as_json, 1)
    except BrokenPipeError:
        return unread(1)
    except OSError as error:
        if error.errno in (28, 13, 30):  # no space, no permission, read-only: the user's to mend
            return complain(BadInput(f"{error.strerror}: {error.filename or 'while writing'}."), as_json, 2)
        raise
    code = 0
    if isinstance(result, tuple):  # a verb that measured something may also say that it is not good enough
        result, code = result
    value = plain(result)
    try:
        if as_json:
            print(json.dumps(value, ensure_ascii=False))
        else:
            show(value)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough: what was done stays done
        return unread(code)
    return code


def unread(code: int) -> int:
    """Nobody reads what is printed any more; what is left in the buffer goes nowhere, and nothing is complained of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def call(name: str, rest: list[str], as_json: bool) -> Any:
    import tyro

    function = VERBS[name].load(name)
    # In JSON mode whatever a library prints must not mix with the object.
    guarded = (
        contextlib.redirect_stdout(sys.stderr)
        if as_json and "--help" not in rest and "-h" not in rest
        else contextlib.nullcontext()
    )
    with guarded:
        try:
            return tyro.cli(function, prog=f"armillary {name}", args=rest, config=(tyro.conf.OmitSubcommandPrefixes,))
        except SystemExit as leave:
            if leave.code in (0, None):
                raise
            raise SystemExit(2) from None


def complain(error: BaseException, as_json: bool, code: int) -> int:
    message = " ".join(str(error).split())
    if as_json:
        print(
            json.dumps(
                {"error": message, "kind": getattr(error, "kind", type(error).__name__), "exit_code": code}, ensure_ascii=False
            )
        )
    print(f"armillary: {message}", file=sys.stderr)
    return code
