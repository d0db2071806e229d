"""Clients of a server, in a process of their own: `python -m benchmarks.clients PORT CLIENTS REQUESTS WORDS`.

Prints one JSON object: the seconds of each request, and of all together. Each client asks again as soon as it has its
answer, over one connection that stays open.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

VOCABULARY = 2000


def text(chance: random.Random, words: int) -> str:
    """Return a text of about so many words, between half and one and a half times."""
    return " ".join(f"word{chance.randrange(VOCABULARY)}" for _ in range(chance.randint(words // 2, words * 3 // 2)))


def ask(port: int, seed: int, requests: int, words: int) -> list[float]:
    """Send requests one after another; return the seconds of each."""
    chance, seconds = random.Random(seed), []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(requests):
        body = json.dumps({"inputs": [text(chance, words)]})
        began = time.perf_counter()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        seconds.append(time.perf_counter() - began)
        if answer.status != 200 or len(json.loads(said)["answers"]) != 1:
            raise RuntimeError(f"The server answered {answer.status}: {said[:200]!r}")
    connection.close()
    return seconds


def main() -> None:
    """Run the clients."""
    port, clients, requests, words = map(int, sys.argv[1:])
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(lambda seed: ask(port, seed, requests, words), range(clients)))
    print(json.dumps({"requests": list(chain(*found)), "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
