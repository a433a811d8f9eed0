"""The most that raw ASGI gives: uvicorn and uvloop, and one constant body. `ceiling.py PORT BODY`.

The server's settings are those of `tacit serve`; the application reads nothing and decides nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn


def main() -> None:
    body = Path(sys.argv[2]).read_bytes()
    head = {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    tail = {"type": "http.response.body", "body": body}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(head)
        await send(tail)

    uvicorn.run(
        application, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools",
        ws="none", lifespan="off", log_level="warning", access_log=False, proxy_headers=False,
        server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
