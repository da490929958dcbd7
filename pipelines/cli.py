"""The command line: the table of verbs, and how a line of words calls one."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module

from pipelines.arguments import before_dashes, parse
from tasks.errors import UserError, did_you_mean
from tasks.remote import refuse_credentials

# The only list of verbs. A verb is the module of that name (with _ for -) in pipelines/commands: a frozen dataclass
# `Args`, whose docstrings are the help, and `main(args) -> exit code`.
VERBS: dict[str, dict[str, str]] = {
    "the whole workflow": {
        "demo": "draw small videos, run everything on them, print the results (takes minutes, needs no data)",
        "run": "prepare, train, evaluate and register what a recipe names, resuming at each step",
    },
    "step by step": {
        "prepare": "decode videos, compute optical flow, pack both into shards",
        "verify": "re-read a prepared dataset and compare it with its checksums and counts",
        "preview": "write a page about a prepared dataset: sample frames and flow, class balance, failures",
        "train": "train the network of a recipe",
        "tune": "search the hyper-parameters of a recipe",
        "evaluate": "score trained runs on a dataset, with one view and with many",
        "predict": "name the action in a video, or in a folder of them",
        "models": "list the networks",
    },
    "on a cluster": {
        "submit": "run a verb as a job on a Ray cluster",
        "jobs": "list the jobs of a cluster",
        "logs": "print the log of a job, or follow it",
        "stop": "stop a job",
        "cluster": "start, show or stop a cluster on this machine, or write the files of one elsewhere",
    },
    "inspect": {
        "doctor": "look at what works on this machine and cluster, what does not, and what to do",
        "ui": "open the MLflow UI: runs, curves, pictures, models",
        "mlflow-server": "serve MLflow to several people and machines, with logins",
        "bench": "measure what limits trainings here: the loader on a dataset, or the steps of a recipe",
    },
}
INTERRUPTED = 130
BROKEN_PIPE = 141


def verbs() -> list[str]:
    """Return every verb, in the order of the table."""
    return [verb for group in VERBS.values() for verb in group]


def module_of(verb: str) -> str:
    """Return the name of a verb's module."""
    return f"pipelines.commands.{verb.replace('-', '_')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 2 for an error that the user can mend, reported in one line."""
    words, debug = _take_debug(list(sys.argv[1:] if argv is None else argv))
    try:
        code = dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:
        _report(str(interrupt) or "interrupted; what was finished is kept, and the same command resumes from there")
        return INTERRUPTED
    except BrokenPipeError:
        # Whatever read our output (`| head`) has ended; without this the interpreter complains as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        from pipelines.errors import user_line

        line = user_line(error)
        if debug or line is None:
            raise
        _report(line)
        return 2


def dispatch(words: list[str]) -> int:
    """Find the verb, read its arguments and call it."""
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"marey {version('marey')}\n")
        return 0
    verb, *rest = words
    if verb.startswith("-"):
        raise UserError(f"{verb} comes before a verb: write `marey VERB {verb}`, or see `marey --help`")
    if verb not in verbs():
        raise UserError(f"unknown verb {verb!r}{did_you_mean(verb, verbs())}")
    for word in rest:
        refuse_credentials(word)
    command = import_module(module_of(verb))
    args = parse(command.Args, verb, rest)
    from pipelines.places import absolute_arguments

    args = absolute_arguments(args)
    # Ours from INFO, other libraries from WARNING; on stderr, so that stdout holds results only.
    from cluster.waiting import heard, waiting
    from pipelines.text import PrintableFormatter

    handler = logging.StreamHandler()
    handler.addFilter(heard)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for package in ("pipelines", "tasks", "models", "cluster"):
        logging.getLogger(package).setLevel(logging.INFO)
    # It warns of a home folder that cannot be written, and uses a temporary one.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with waiting("libraries to load and files to be read") if sys.stderr.isatty() else nullcontext():
        return int(command.main(args))


def help_text() -> str:
    """Return the text of `marey --help`."""
    lines = ["usage: marey VERB ...    (`marey VERB --help` lists its arguments)", ""]
    for group, members in VERBS.items():
        lines += [f"{group}:", *(f"  {verb:<15}{does}" for verb, does in members.items()), ""]
    lines += ["global options:", "  --debug   show the traceback of an error", "  --version print the version", ""]
    return "\n".join(lines)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    own = before_dashes(words)
    return [word for word in own if word != "--debug"] + words[len(own) :], "--debug" in own


def _report(message: str) -> None:
    from pipelines.text import printable

    sys.stderr.write(f"marey: {printable(message)}\n")
