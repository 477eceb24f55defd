"""A worker process: tasks as JSON lines on standard input, one JSON line back for each, nothing else on that channel.

Started as `python -m armillary.curate.worker`. It ends when its input does, so it does not outlive the run that started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from armillary.curate.tasks import READY, run_task


def serve(work: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Answer every line of standard input with what `work` returns."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    answers.write(READY + "\n")  # from here on time counts: starting Python and its libraries is not the file's fault
    answers.flush()
    for line in sys.stdin:
        answer = json.dumps(work(json.loads(line))) + "\n"
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:  # nobody listens any more; the record on disk is what counts
            os._exit(0)


if __name__ == "__main__":
    serve(run_task)
