"""A scraper that asks each host at most twice at a time, and at most five times a second.

Run it: `python examples/polite_scraper.py`. It starts 30 fetches of three hosts and prints how many began in the
busiest second of each host. The hosts here are made up: put your own request into `fetch`.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from urllib.parse import urlsplit

from understudy import Limit, Runtime, sleep, task

HOSTS = Limit("hosts", concurrency=2, rate="5/s")


@task(limit=HOSTS, limit_by="host", retry=3)
def fetch(host: str, path: str) -> tuple[str, float]:
    began = time.time()
    sleep(0.05)  # the request
    return host, began


def busiest(times: list[float]) -> int:
    """The most begins in any second."""
    return max(sum(1 for other in times if at <= other < at + 1) for at in times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", help="the folder of the supervisor")
    home = parser.parse_args().home
    urls = [f"https://host{n % 3}.example/page/{n}" for n in range(30)]
    parts = [urlsplit(url) for url in urls]
    with Runtime(home, workers=2) as rt:
        infos = rt.start_many(fetch, [(part.netloc, part.path) for part in parts])
        begun = defaultdict(list)
        for host, began in rt.results(infos, timeout=60):
            begun[host].append(began)
    for host, times in sorted(begun.items()):
        print(f"{host}: {len(times)} pages, at most {busiest(times)} in a second")


if __name__ == "__main__":
    main()
