"""Small files of rows."""

import json


def write_jsonl(path, records):
    """Write records, one JSON object a line; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def sums(count, start=0):
    """Return questions and answers, each another."""
    return [
        {"question": f"{i} + 1?", "answer": f"#### {i + 1}"}
        for i in range(start, start + count)
    ]
