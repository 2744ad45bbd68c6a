"""Runs command lines in this environment, each in a process forked off this one, so that imports are paid for once.

Each line of standard input is a JSON list of jobs {"command", "arguments", "output", "closed"}. The streams "out" and
"err" of a job are written to the file `output` with these suffixes, or are pipes that nobody reads if `closed` names
them. The answer is a line with the JSON list of the exit statuses.
"""

import atexit
import gc
import json
import os
import shutil
import sys
from typing import Any

from dec_kernels.cli import main as dec_kernels
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.demo import main as demo

COMMANDS = {"dec-kernels": dec_kernels, "dec-train": dec_train, "demo": demo}


def run(job: dict[str, Any]) -> int:
    """The exit status of a job, which runs in a child; the child leaves this function by SystemExit."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    atexit.unregister(shutil.rmtree)  # Matplotlib would remove the folder that it made, which is the parent's
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in ((1, "out"), (2, "err")):
        if stream in job["closed"]:
            reader, writer = os.pipe()
            os.close(reader)
        else:
            writer = os.open(f"{job['output']}.{stream}", os.O_WRONLY | os.O_CREAT)
        os.dup2(writer, number)
        os.close(writer)
    # As they would arrive in sys.argv.
    sys.exit(COMMANDS[job["command"]]([os.fsdecode(argument.encode()) for argument in job["arguments"]]))


if __name__ == "__main__":
    gc.freeze()  # or each child would go through all that is imported here before it ends
    for line in sys.stdin:
        print(json.dumps([run(job) for job in json.loads(line)]), flush=True)
