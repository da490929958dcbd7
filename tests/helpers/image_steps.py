"""The steps of a Dockerfile without docker: each stage is a folder, in which a RUN is a chroot.

Every step has a mount namespace and a process namespace of its own, so that nothing stays mounted or running.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import processes
import pytest

STEP_S = 1800.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What docker sets where an image sets none."""
BROUGHT = "machine"
"""Folder of each root for files that pip's settings name."""


def read(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile and what follows each."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in whole)]


@dataclass
class Pip:
    """This machine's own settings of pip, as they hold in a root that sees some of its files."""

    variables: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    """To be copied into the root."""
    folders: set[Path] = field(default_factory=set)
    """To be seen in it where they are."""

    @classmethod
    def of_this_machine(cls) -> Pip:
        """Ask pip."""
        listed = processes.run([sys.executable, "-m", "pip", "config", "list"]).stdout
        found = cls()
        for key, value in re.findall(r"^\S*?\.([\w-]+)=(.*)$", listed, re.MULTILINE):  # the environment's come last
            words = [found._seen(word) for word in str(ast.literal_eval(value)).split()]
            found.variables[f"PIP_{key.replace('-', '_').upper()}"] = " ".join(words)
        return found

    def _seen(self, word: str) -> str:
        path = Path(word.removeprefix("file://"))
        if path.is_absolute() and path.is_dir():
            self.folders.add(Path(*path.parts[:3]))  # its pages may lead elsewhere below
        elif path.is_absolute() and path.is_file():
            self.files.append(path)
            return f"/{BROUGHT}/{len(self.files)}-{path.name}"
        return word

    def bring(self, root: Path) -> None:
        """Copy what is to be copied into a root, and make the places of what is to be seen."""
        (root / BROUGHT).mkdir()
        for number, file in enumerate(self.files, 1):
            shutil.copy(file, root / BROUGHT / f"{number}-{file.name}")
        for folder in self.folders:
            (root / folder.relative_to("/")).mkdir(parents=True)


@dataclass
class Stage:
    """An image in the making: a root, and what its next step finds."""

    root: Path
    pip: Pip
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    folder: str = "/"
    user: str = "0:0"
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(self, command: Sequence[str], bound: Mapping[Path, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in the root, as the image's user and with its variables.

        Args:
            command: its words.
            bound: folders of this machine, by the path at which the root has them as well.
        """
        seen = {folder: str(folder) for folder in self.pip.folders} | dict(bound or {})
        lines = [["mount", "-t", "proc", "proc", self.root / "proc"], ["mount", "--rbind", "/dev", self.root / "dev"]]
        for folder, place in seen.items():
            there = self.root / place.lstrip("/")
            there.mkdir(exist_ok=True)
            lines += [["mount", "--bind", folder, there], ["mount", "-o", "remount,ro,bind", there]]
        environment = [
            f"{name}={value}" for name, value in (self.variables | self.arguments | self.pip.variables).items()
        ]
        inside = ["chroot", f"--userspec={self.user}", self.root, "env", "-i", f"--chdir={self.folder}", *environment]
        lines.append(["exec", *inside, *command])
        script = "\n".join(shlex.join(map(str, line)) for line in lines)
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script]
        return processes.run(words, limit=STEP_S, stdin=subprocess.DEVNULL)


class Build:
    """A Dockerfile's stages, made in a folder."""

    def __init__(self, dockerfile: Path, context: Path, base: Path, folder: Path, arguments: Mapping[str, str]) -> None:
        self.pip = Pip.of_this_machine()
        self._base, self._context, self._folder, self._arguments = base, context, folder, arguments
        self._stages: dict[str, Stage] = {}
        for word, rest in read(dockerfile):
            getattr(self, f"_{word.lower()}")(rest)

    @property
    def image(self) -> Stage:
        """The last stage."""
        return list(self._stages.values())[-1]

    def _from(self, rest: str) -> None:
        base, name = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()  # type: ignore[union-attr]
        root = self._folder / name
        before = self._stages.get(base)
        # Files that two stages share are replaced in a later one, not written to, as package managers do it.
        subprocess.run(["cp", "--archive", "--link", before.root if before else self._base, root], check=True)
        if before is None:
            self.pip.bring(root)
            self._stages[name] = Stage(root, self.pip)
        else:
            self._stages[name] = replace(before, root=root, variables=dict(before.variables), arguments={})

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.image.arguments[name] = self._arguments.get(name, default.strip('"'))

    def _env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.image.variables[name] = string.Template(value).substitute(self.image.variables)

    def _shell(self, rest: str) -> None:
        self.image.shell = json.loads(rest)

    def _workdir(self, rest: str) -> None:
        self.image.folder = rest
        self._place(rest).mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.image.user = rest

    def _healthcheck(self, rest: str) -> None:
        self.image.health = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str) -> None:
        self.image.command = json.loads(rest)

    def _run(self, rest: str) -> None:
        flags, command = _flags(rest)
        bound = {}
        for flag in flags:
            mount = dict(part.split("=") for part in flag.removeprefix("--mount=").split(","))
            assert mount["type"] == "bind"
            bound[self._stages[mount["from"]].root / mount["source"].lstrip("/")] = mount["target"]
        done = self.image.run([*self.image.shell, command], bound)
        if "name the right index by TORCH_INDEX" in done.stderr:
            pytest.skip("pip finds no CPU build of torch by this machine's settings: set TORCH_INDEX")
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def _copy(self, rest: str) -> None:
        flags, words = _flags(rest)
        options = dict(flag.removeprefix("--").split("=") for flag in flags)
        source = self._stages[options["from"]].root if "from" in options else self._context
        *names, target = words.split()
        for name in names:
            there, place = source / name.lstrip("/"), self._place(target)
            if there.is_dir() and "from" in options:
                subprocess.run(["cp", "--archive", "--link", f"{there}/.", place], check=True)
                continue
            if there.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(there, place, symlinks=True, ignore=ignored, dirs_exist_ok=True)
                continue
            place = place / there.name if place.is_dir() else place
            shutil.copy(there, place)
            if "chmod" in options:
                place.chmod(int(options["chmod"], 8))

    def _place(self, path: str) -> Path:
        return self.image.root / Path(self.image.folder, path).relative_to("/")


def _flags(rest: str) -> tuple[list[str], str]:
    """Return the flags that an instruction begins with, and the rest of it."""
    words = rest.split(" ")
    count = next(number for number, word in enumerate(words) if not word.startswith("--"))
    return words[:count], " ".join(words[count:]).strip()
