"""Methods: each a pure function from a situation to a `Plan`, by name and options.

``parse_method("jcpba:solver=bcd")`` reads a name with options; the options are the
fields of the method's dataclass, and their types say the legal values. A rule of one's
own is ``module:Class``, see docs/extend.md.
"""

from trimwave.methods.ask import ask_plan, ask_scheme, ask_stages, ready, seen_by
from trimwave.methods.deft import Deft
from trimwave.methods.fedbiot import FedBiot
from trimwave.methods.fedqlora import FedQlora
from trimwave.methods.jcpba import Jcpba
from trimwave.methods.latency_budget import LatencyBudget
from trimwave.methods.lora import Lora
from trimwave.methods.method import HasStages, Method, ServesSome, SolvesP1
from trimwave.methods.parse import (
    facts_of_rule,
    inputs_of_rules,
    label_of,
    name_of,
    parse_method,
    text_of,
)
from trimwave.methods.partial import Partial
from trimwave.methods.personalised import Personalised
from trimwave.methods.pruning import PruningRule
from trimwave.methods.registry import ALL, METHODS, installed
from trimwave.methods.split_lora import SplitLora
from trimwave.methods.staged import Staged
from trimwave.methods.ubfp import Ubfp

__all__ = [
    "ALL",
    "METHODS",
    "Deft",
    "FedBiot",
    "FedQlora",
    "HasStages",
    "Jcpba",
    "LatencyBudget",
    "Lora",
    "Method",
    "Partial",
    "Personalised",
    "PruningRule",
    "ServesSome",
    "SolvesP1",
    "SplitLora",
    "Staged",
    "Ubfp",
    "ask_plan",
    "ask_scheme",
    "ask_stages",
    "facts_of_rule",
    "inputs_of_rules",
    "installed",
    "label_of",
    "name_of",
    "parse_method",
    "ready",
    "seen_by",
    "text_of",
]
