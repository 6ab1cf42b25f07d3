"""A Flower app that only sends: bytes of its own to each client, and others back.

Needs Flower alone, so that no other import is in what it takes.
"""

import json
import os
import time

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

POLL_S = 0.2
"""Between two questions for answers, as the product's server asks."""

server = ServerApp()
client = ClientApp()


def content(num_bytes, told=None):
    """Return one flat buffer of random bytes, as a message's content."""
    data = os.urandom(num_bytes)
    body = Array(dtype="uint8", shape=(num_bytes,), stype="raw", data=data)
    records = {"body": ArrayRecord(array_dict={"body": body})}
    if told:
        records["told"] = ConfigRecord(told)
    return RecordDict(records)


@client.train()
def train(message, context):
    """Answer with as many bytes as were asked for."""
    answer = content(message.content["told"]["up_bytes"])
    return Message(content=answer, reply_to=message)


@server.main()
def main(grid, context):
    """Time each round, from the first message to the last answer."""
    told, seconds = context.run_config, []
    while len(nodes := sorted(grid.get_node_ids())) < told["clients"]:
        time.sleep(POLL_S)
    for number in range(told["rounds"]):
        started = time.monotonic()
        asked = {}
        for node in nodes:
            message = Message(
                content=content(told["down_bytes"], {"up_bytes": told["up_bytes"]}),
                message_type="train",
                dst_node_id=node,
                group_id=str(number),
            )
            (name,) = grid.push_messages([message])
            asked[name] = node
        while asked:
            for answer in grid.pull_messages([*asked]):
                if answer.has_error():
                    raise RuntimeError(answer.error.reason)
                del asked[answer.metadata.reply_to_message_id]
            time.sleep(POLL_S if asked else 0)
        seconds.append(time.monotonic() - started)
    with open(told["out"], "w") as file:
        json.dump(seconds, file)
