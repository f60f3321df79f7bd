"""Random networks under clients that move at random, by themselves or by a NAT, over paths that carry and mark less."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from specter.quic.errors import CannotMigrate
from specter.quic.paths import MAX_PATHS
from specter.testing.network import Link
from specter.testing.pair import Pair
from specter.testing.replay import scenario
from specter.testing.transfers import Action

SEEDS = 120
WHOLE = (Action.DOWNLOAD, Action.UPLOAD, Action.ECHO)
CHUNK = 10
LIMIT = 900.0


@dataclass
class Restless:
    """One seed: the transfers of its scenario while the client and the network change at random."""

    seed: int

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} paths")
        plan = scenario(self.seed, size=400_000)
        self.orders = tuple(
            order for order in plan.orders if order.action in (Action.DOWNLOAD, Action.UPLOAD, Action.ECHO)
        )
        self.links = self._vary(plan.up), self._vary(plan.down)
        self.pair = Pair(
            self.seed,
            *(replace(link, corrupt=0.0) for link in self.links),  # Version Negotiation is not protected
            orders=self.orders,
            client_config=replace(plan.client, ecn=self.chance.random() < 0.8),
            server_config=replace(plan.server, disable_active_migration=self.chance.random() < 0.1),
        )
        self.most = 0
        self.moves = 0

    def _vary(self, link: Link) -> Link:
        chance = self.chance
        return replace(
            link,
            mtu=chance.choice([1200, 1252, 1300, 1392, 1472, 65_527]),
            ecn_mangle=chance.random() < 0.1,
            ecn_drop=chance.random() < 0.1,
        )

    def disturb(self) -> None:
        """Do something to the path, and come again."""
        pair, chance = self.pair, self.chance
        what = chance.randrange(6)
        if what == 0:
            pair.rebind(host=chance.random() < 0.5)
        elif what == 1:
            self.links = tuple(map(self._vary, self.links))  # type: ignore[assignment]
            pair.network.set_links(*self.links)
        elif what <= 4:
            self._migrate()
        for end in (pair.client, *(peer.engine for peer in pair.endpoint.peers)):
            core = end.connection._core  # type: ignore[union-attr]
            self.most = max(self.most, len(core.paths.others))
            assert len(core.remote_cids._active) <= core.config.active_connection_id_limit
        pair.at(chance.uniform(0.05, 1.5), self.disturb)

    def _migrate(self) -> None:
        try:
            self.pair.migrate(host=self.chance.random() < 0.5)
        except CannotMigrate:
            return
        self.moves += 1

    def run(self) -> None:
        pair = self.pair
        pair.run(lambda: pair.client.connection.confirmed, limit=LIMIT)
        pair.network.set_links(*self.links)
        pair.at(self.chance.uniform(0.0, 0.5), self.disturb)
        pair.transfer(limit=LIMIT)
        server = pair.server
        pair.run(lambda: not server.sides, limit=LIMIT)
        for end in (pair.client, server):
            assert all(side.received == side.to_receive for side in end.finished.values())
            assert end.closed is None
        assert len(pair.client.finished) == len(self.orders)
        assert self.most <= MAX_PATHS


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    for seed in range(first, first + CHUNK):
        Restless(seed).run()
