"""One round of LangGraph with its SQLite checkpointer: a graph stops for a human and goes on with the answer. Prints the median as JSON.

    python langgraph_round.py FOLDER ROUNDS
"""

import json
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt


class State(TypedDict, total=False):
    order: dict
    answer: str


def ask(state: State) -> State:
    return {"answer": interrupt({"action": "pay", "args": state["order"]})}


def main(folder: str, rounds: int) -> None:
    connection = sqlite3.connect(Path(folder) / "langgraph.db", check_same_thread=False)
    # What our own store does too: an answer that was given survives the power.
    connection.execute("PRAGMA synchronous = FULL")
    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    compiled = graph.compile(checkpointer=SqliteSaver(connection))
    times = []
    for number in range(rounds):
        config = {"configurable": {"thread_id": f"thread-{number}"}}
        started = time.perf_counter()
        compiled.invoke({"order": {"invoice": f"INV-{number}", "amount": "120.00"}}, config)
        done = compiled.invoke(Command(resume="approve"), config)
        times.append((time.perf_counter() - started) * 1e3)
        assert done["answer"] == "approve"
    print(json.dumps({"p50_ms": statistics.median(times)}))


main(sys.argv[1], int(sys.argv[2]))
