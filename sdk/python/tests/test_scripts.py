"""Examples and README against small coordinators made for the test; test_cluster has them against real ones."""

from __future__ import annotations

import unittest

from .fake import Cluster
from .scripts import Scripts


class WithFakes(Scripts, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        cluster = await Cluster().start(2)
        self.addAsyncCleanup(cluster.stop)
        self.addresses = cluster.addresses


if __name__ == "__main__":
    unittest.main()
