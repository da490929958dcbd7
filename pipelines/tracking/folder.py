"""A folder of the workspace, whether that is on this machine or at an address: files that are replaced in one step."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from pipelines.errors import UserError
from pipelines.tracking.copies import fetch_file
from pipelines.tracking.workspace import make_folder, workspace
from tasks.data import storage
from tasks.remote import reason

log = logging.getLogger(__name__)


class Folder:
    """A folder by its address; whatever fails in it is a `UserError` that names the file."""

    kind: ClassVar[str]
    """What it holds, in messages."""
    parent: ClassVar[str]
    """Folder of the workspace that holds all of them."""
    state_file: ClassVar[str]

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)

    @classmethod
    def of(cls, name: str, place: str | None = None) -> Self:
        """Return the folder of that name in a workspace, by default in ours."""
        return cls(storage.join(place or workspace(), cls.parent, name))

    @property
    def name(self) -> str:
        """The name of the run, sweep or average."""
        return self.address.rpartition("/")[2]

    def place(self, name: str) -> str:
        """Return the path or address of a file."""
        return storage.join(self.address, name)

    def make(self) -> None:
        """Make the folder where it is missing; an object store needs none."""
        if storage.is_local(self.address):
            make_folder(Path(self.address))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none."""
        try:
            return storage.read_bytes(self.place(name))
        except (FileNotFoundError, NotADirectoryError):  # whether it can be made is for whoever writes it to say
            return None
        except OSError as error:
            raise UserError(f"{self.place(name)} cannot be read: {reason(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """Replace a file in one step."""
        self.make()
        if "/" in name:
            storage.make_folder(self.place(name).rpartition("/")[0])
        try:
            storage.publish(self.place(name), content)
        except OSError as error:
            raise UserError(f"{self.place(name)} cannot be written: {reason(error)}") from error

    @contextmanager
    def open_to_add(self, name: str) -> Iterator[Path]:
        """Yield a file of this machine to add lines to; for a folder at an address it is stored at the end."""
        if storage.is_local(self.address):
            yield Path(self.place(name))
            return
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch, name)
            file.write_bytes(self.read(name) or b"")
            try:
                yield file
            finally:
                try:
                    self.write(name, file.read_bytes())
                except UserError as error:  # must not hide how the block has ended
                    log.warning("%s is not kept: %s", name, error)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        try:
            storage.remove(self.place(name))
        except OSError as error:
            raise UserError(f"{self.place(name)} cannot be removed: {reason(error)}") from error

    def files(self, inside: str = "") -> list[str]:
        """Return the sorted names of the files in the folder, or in one of its folders; none where it is missing."""
        folder = self.place(inside)
        found = storage.entries(folder, missing_ok=True)
        return [name for name, is_folder in found if not is_folder and not name.endswith(".tmp")]

    def fetch(self, name: str) -> Path:
        """Return the path of a file on this machine, a copy where the workspace is at an address."""
        return fetch_file(self.place(name))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the JSON object in a file; None where there is none."""
        text = self.read(name)
        if text is None:
            return None
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.damaged(name, "no JSON") from error
        if not isinstance(content, dict):
            raise self.damaged(name, "no JSON object")
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace a file by a JSON object in one step."""
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def _read_text(self, name: str) -> str | None:
        content = self.read(name)
        return None if content is None else content.decode()

    def damaged(self, name: str, why: str) -> UserError:
        """Return the error about a file that does not hold what it must."""
        anew = f", give the {self.kind} another name, or delete {self.address} to start it anew"
        return UserError(
            f"{self.place(name)} is damaged ({why}): put a copy in its place"
            f"{anew if name == self.state_file else ', or delete it'}"
        )
