"""Questions beyond one solution of P1: the trade-off, whom to drop, a shared uplink."""

from trimwave.analysis.prices import Prices, prices_of
from trimwave.analysis.selection import Selection, drop_clients, select_clients
from trimwave.analysis.tradeoff import TradeOff, WhatIf, trade_off, what_if
from trimwave.analysis.uplink import SharedUplink, share_uplink

__all__ = [
    "Prices",
    "Selection",
    "SharedUplink",
    "TradeOff",
    "WhatIf",
    "drop_clients",
    "prices_of",
    "select_clients",
    "share_uplink",
    "trade_off",
    "what_if",
]
