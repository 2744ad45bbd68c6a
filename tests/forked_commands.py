"""Runs command lines in this environment, each in a process forked off this one, so that imports are paid for once.

Standard input is a JSON list of jobs {"command", "arguments", "output", "closed"}. "out" and "err" are written to the
file "output" with these suffixes, or are pipes that nobody reads where "closed" names them. The last line that is
printed is the JSON list of the exit statuses.
"""

import atexit
import gc
import json
import os
import shutil
import sys

from dec_kernels.cli import main as dec_kernels
from dec_kernels.trainer.cli import main as dec_train
from dec_kernels.trainer.demo import main as demo

COMMANDS = {"dec-kernels": dec_kernels, "dec-train": dec_train, "demo": demo}


def fork(job: dict) -> bool:
    """Whether this is the child, whose streams are then the job's. The parent waits, and keeps the child's status."""
    child = os.fork()
    if child:
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return False
    atexit.unregister(shutil.rmtree)  # Matplotlib would remove the folder that it made, which is the parent's
    for number, stream in ((1, "out"), (2, "err")):
        if stream in job["closed"]:
            reader, writer = os.pipe()
            os.close(reader)
        else:
            writer = os.open(f"{job['output']}.{stream}", os.O_WRONLY | os.O_CREAT)
        os.dup2(writer, number)
        os.close(writer)
    return True


statuses: list[int] = []
gc.freeze()  # or each child would go through all that is imported here before it ends
for job in json.load(sys.stdin):
    if fork(job):
        # As they would arrive in sys.argv.
        arguments = [os.fsdecode(argument.encode()) for argument in job["arguments"]]
        sys.exit(COMMANDS[job["command"]](arguments))
print(json.dumps(statuses))
