"""The command line of `chatrt sessions`: its commands and their options."""

from __future__ import annotations

import argparse


def add_sessions(sessions: argparse.ArgumentParser) -> None:
    """Add what `chatrt sessions` takes to its parser."""
    sessions.add_argument("--store", metavar="URL", help="the store (CHATRT_STORE, else sqlite:///chatrt.db)")
    sessions.add_argument("--url", help="a server to ask instead of a store; its key is CHATRT_SECRET_KEY")
    sessions.add_argument("--tenant", default="", help="the tenant, with a store (the empty one)")
    what = sessions.add_subparsers(dest="do", required=True, metavar="WHAT")
    listing = what.add_parser("list", help="list sessions by chat id")
    listing.add_argument("--agent", metavar="ID", help="only those of this agent")
    listing.add_argument("--status", choices=("open", "closed"), help="only those")
    listing.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many (all)")
    listing.add_argument("--json", action="store_true", help="one line of JSON each")
    show = what.add_parser("show", help="print the messages of a session")
    show.add_argument("--json", action="store_true", help="print them as JSON")
    export = what.add_parser("export", help="write a session as lines of JSON")
    export.add_argument("-o", "--output", metavar="FILE", help="a file that is not there yet (standard output)")
    replay = what.add_parser("replay", help="print what is kept of a session's answers once more")
    replay.add_argument("--format", choices=("text", "sse"), default="text", help="for people, or as events (text)")
    replay.add_argument(
        "--pace", type=float, default=0.0, metavar="FACTOR", help="as fast as recorded, times this (0: at once)"
    )
    close = what.add_parser("close", help="let a session take no more records, for good")
    close.add_argument("--reason", help="why")
    delete = what.add_parser("delete", help="remove a session and those it started")
    delete.add_argument("--yes", action="store_true", help="needed: there is no way back")
    for one in (show, export, replay, close, delete):
        one.add_argument("chat", metavar="CHAT", help="the chat id")
    bring_in = what.add_parser("import", help="put an exported session into the store")
    bring_in.add_argument("file", help="what export wrote")
    bring_in.add_argument("--chat-id", metavar="ID", help="its new chat id (its own)")
