import time

import torch

from trimwave.net.held_speed import held_to


def test_products_are_counted_and_take_their_time():
    one = torch.ones(20, 30)
    started = time.monotonic()
    with held_to(120e3) as counted:
        one @ torch.ones(30, 10)
    assert counted.flops == 2 * 20 * 30 * 10
    assert time.monotonic() - started >= 12e3 / 120e3


def test_without_a_speed_nothing_is_counted():
    with held_to(None) as counted:
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert counted.flops == 0
