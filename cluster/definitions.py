"""The definitions of clusters: copies of a target's files with the user's values filled in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.definitions_settings import Aws, Keys, Kuberay, OnPremise, Slurm
from cluster.errors import ClusterError, did_you_mean

HERE = Path(__file__).parent
PLACEHOLDER = re.compile(r"\{\{ ([\w.]+) \}\}")


@dataclass(frozen=True)
class Target:
    """A kind of cluster."""

    folder: str
    """Where its files are, in this package."""
    settings: type[Keys]
    files: tuple[str, ...]
    """Names of the files that are copied; beside them are those that they are made with."""

    @property
    def room(self) -> Path:
        """The folder of this installation."""
        return HERE / self.folder


TARGETS = {
    "kuberay": Target("kuberay", Kuberay, ("mlflow.yaml", "raycluster.yaml", "rayjob.yaml")),
    "aws": Target("ray-up", Aws, ("aws.yaml",)),
    "on-premise": Target("ray-up", OnPremise, ("on-premise.yaml",)),
    "slurm": Target("slurm", Slurm, ("prepare.sbatch", "train.sbatch", "tune.sbatch")),
}


@dataclass(frozen=True, kw_only=True)
class Written:
    """What `init` has written."""

    files: tuple[Path, ...]
    values: dict[str, Any]
    """Every key with its value."""
    next: str
    """The commands that come next, a line each."""


def init(target: str, folder: Path, given: Sequence[str]) -> Written:
    """Write the files of a target.

    Args:
        target: a name in `TARGETS`.
        folder: where the files go; made if it is not there.
        given: `key=value`, of the fields of the target's settings.

    Raises:
        ClusterError: an unknown or missing key, a wrong value, or a file that is there already.
    """
    settings = read(target, given)
    rendered = render(target, settings)
    paths = {name: folder / name for name in rendered}
    for path in paths.values():
        if path.exists() or path.is_symlink():
            raise ClusterError(f"{path} is there already, and would be lost: name another folder, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            with path.open("x", encoding="utf-8") as file:
                file.write(rendered[name])
    except OSError as error:
        raise ClusterError(f"cannot write {error.filename} ({error.strerror}): name another folder") from error
    return Written(
        files=tuple(paths.values()), values=dataclasses.asdict(settings), next=next_steps(target, settings, folder)
    )


def read(target: str, given: Sequence[str]) -> Keys:
    """Return a target's settings with the values given.

    Raises:
        ClusterError: an unknown or missing key, or a wrong value.
    """
    settings = TARGETS[target].settings
    known = {field.name: field for field in dataclasses.fields(settings)}
    values: dict[str, int | str] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals:
            raise ClusterError(f"--set {word} has no value: write --set {key}=VALUE")
        if key not in known:
            raise ClusterError(f"--set {word}: unknown key {key!r} of {target}{did_you_mean(key, known)}")
        if known[key].type != "int":
            values[key] = value
        elif re.fullmatch(r"[0-9]{1,9}", value):
            values[key] = int(value)
        else:
            raise ClusterError(f"--set {word}: {key} must be a whole number, not {value!r}")
    needed = [name for name, field in known.items() if field.default is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ClusterError(
            f"{target} needs {' and '.join(missing)}: give {' '.join(f'--set {name}=...' for name in missing)} "
            f"(docs/cluster lists all keys)"
        )
    try:
        return settings(**values)
    except ValueError as error:
        raise ClusterError(str(error)) from error


def render(target: str, settings: Keys) -> dict[str, str]:
    """Return the content of each of a target's files, by its name."""
    files = {name: TARGETS[target].room / name for name in TARGETS[target].files}
    if isinstance(settings, Slurm):
        return {name: settings.fill(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return {name: _fill(path, _values(settings)) for name, path in files.items()}


def next_steps(target: str, settings: Keys, folder: Path) -> str:
    """Return the commands that start what lies in a folder, a line each."""
    return _fill(HERE / "next_steps" / f"{target}.txt", {**_values(settings), "folder": folder}).rstrip()


def _values(settings: Keys) -> dict[str, Any]:
    """Return all that a file may name: fields, properties, and the version of Ray that the images hold."""
    names = [name for name in dir(settings) if not name.startswith("_")]
    return {name: getattr(settings, name) for name in names} | {"ray_version": version("ray")}


def _fill(path: Path, values: Mapping[str, Any]) -> str:
    """Return a file with its placeholders filled in; `{{ _part.yaml }}` is another one, indented as its line is."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        part = PLACEHOLDER.search(line)
        if part and part[1].startswith("_"):
            indent = line[: part.start()]
            inner = _fill(path.with_name(part[1]), values).splitlines(keepends=True)
            lines += [indent + each if each.strip() else each for each in inner]
        else:
            lines.append(PLACEHOLDER.sub(lambda match: str(values[match[1]]), line))
    return "".join(lines)
