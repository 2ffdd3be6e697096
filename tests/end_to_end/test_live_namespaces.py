"""Server and devices with addresses of their own, 1 % of all packets lost, 50 ms each way, one device cut off."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_rehearsals import Told, tiny_plan

from simulations.rehearsal.namespaces import CutOff, namespaced, supported
from simulations.rehearsal.rehearsal import rehearse
from simulations.rehearsal.tunnels import Quality

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.skipif(not supported(), reason="SKIPPED FOR LACK OF RIGHTS: needs root, ip and /dev/net/tun")
def test_a_lossy_slow_network_and_a_cut_change_no_bit(tmp_path: Path) -> None:
    plan = tiny_plan(2, 3)
    with namespaced(2, Quality(loss=0.01, delay_seconds=0.05)) as web:
        cut = CutOff(web, 1, print, after_round=1, seconds=15.0)
        outcome = rehearse(plan, tmp_path, Told(), network=web.network, on_look=cut)
        traffic = web.router.traffic
    figures = outcome.figures()
    print(traffic, figures)
    assert cut.over, "the cut came too late"
    assert traffic.lost > 0
    assert traffic.cut > 0
    assert figures["equal"], figures
    assert [line["clients"] for line in outcome.rounds] == [2, 2, 2]
    assert figures["processes_left_behind"] == 0
