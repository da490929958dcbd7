"""An address on this machine's loopback that leads to one on a host of `hosts`, for what cannot run there.

A process on the host accepts at a socket that this one has opened: a socket stays in the network it was made in.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import processes
from hosts import LIMIT_S, Host
from paths import ROOT


@contextlib.contextmanager
def reachable(host: Host, port: int) -> Iterator[str]:
    """Give the address on loopback, `http://127.0.0.1:...`, that leads to a port of a host."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        command = host.command([sys.executable, "-P", __file__, number, host.address, port])
        environment = host.environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests' / 'helpers'}")
        with processes.started(command, limit=LIMIT_S, env=environment, pass_fds=[number], stdout=subprocess.DEVNULL):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def _relay(listener: socket.socket, host: str, port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection(host, port)
        await asyncio.gather(_pass_on(reader, to), _pass_on(there, writer))

    await (await asyncio.start_server(accept, sock=listener)).serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError), contextlib.closing(writer):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(_relay(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
