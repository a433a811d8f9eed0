"""Training and serving agree, by replay: streams with lateness and restarts (`replay.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import Shop, arriving, retail, synthetic
from servers import redis_server


@pytest.mark.slow
def test_a_shop_made_up(tmp_path: Path) -> None:
    shop = Shop(tmp_path, arriving(synthetic(1, 1200), 1), 1, sweeps=4)
    shop.run(8, 6)
    assert shop.check(6)["restarts"]


def test_a_real_shop(tmp_path: Path, online_retail: Path) -> None:
    shop = Shop(tmp_path, arriving(retail(online_retail, 3_000), 2), 2, sweeps=3)
    shop.run(6, 6)
    shop.check(6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1))
def test_a_real_shop_for_a_year(tmp_path: Path, online_retail: Path, seed: int) -> None:
    shop = Shop(tmp_path, arriving(retail(online_retail), seed), seed, sweeps=45)
    shop.run(100, 20)
    assert shop.check(30)["restarts"] > 10


@pytest.mark.slow
def test_a_real_shop_in_redis(tmp_path: Path, online_retail: Path) -> None:
    """Lines through Redis Streams into a store in Redis, whose readers die at any step."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = redis_server(folder)
    try:
        url = f"redis://127.0.0.1:{server.port}/0"
        shop = Shop(tmp_path / "shop", arriving(retail(online_retail, 30_000), 4), 4, url)
        shop.run(40, 12)
        assert shop.check(20)["restarts"] > 10
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_shops_made_up(tmp_path: Path, seed: int) -> None:
    shop = Shop(tmp_path, arriving(synthetic(seed + 10, 12_000), seed), seed)
    shop.run(40, 12)
    assert shop.check(20)["restarts"] > 2
