"""The command line: `chatrt dev`, `serve`, `chat`, `mcp`, what operators need, `openapi`, `types` and `version`.

Exit codes: 0 when all went well, also after SIGTERM and Ctrl-C; 1 when something failed on the way; 2 when the command
line or the target is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from chatrt import failpoints
from chatrt.cli.sessions_options import add_sessions
from chatrt.errors import ChatrtError, UsageError

TARGET_HELP = (
    "what to run: module:attr or path/to/file.py[:attr], where attr is a ChatAgent, a list of them, or an ASGI app; "
    "without attr, the only one there is"
)
EPILOG = """\
environment (flags win):
  CHATRT_HOST, CHATRT_PORT    where to listen; 127.0.0.1 and 8000 by default
  CHATRT_STORE                URL of the store; sqlite:///chatrt.db by default
  CHATRT_SECRET_KEY           what servers authenticate with; needed to listen beyond this machine
  CHATRT_ROLE                 all, web or worker, where several processes share a store; all by default
  CHATRT_MAX_RUNS             how many chats a process serves at once at most; any number by default
  CHATRT_LEASE_TTL            seconds after which another process takes over from one that is silent; 10 by default

exit codes:
  0  all went well, also after SIGTERM and Ctrl-C
  1  something failed on the way
  2  the command line or the target is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: The arguments; by default those of the process.
    """
    options = _parser().parse_args(argv)
    # Each command is loaded when it is chosen: servers, models and HTTP clients are too heavy for `--help`.
    command = importlib.import_module(f"chatrt.cli.{options.command}")
    try:
        failpoints.read_environment()
        return int(command.run(options))
    except UsageError as error:
        print(f"chatrt: {error}", file=sys.stderr)
        return 2
    except ChatrtError as error:
        print(f"chatrt: {error} [{error.code}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chatrt",
        description="A self-hosted runtime for chat agents with durable conversations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_dev(commands)
    _add_serve(commands)
    _add_chat(commands)
    _add_mcp(commands)
    _add_migrate(commands)
    _add_openapi(commands)
    _add_types(commands)
    _add_doctor(commands)
    _add_backup(commands)
    add_sessions(commands.add_parser("sessions", help="list, show, export, import, replay, close, delete sessions"))
    commands.add_parser("version", help="print the version")
    return parser


def _add_dev(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    dev = commands.add_parser("dev", help="serve with a chat page, and start again when a file changes")
    dev.add_argument("target", help=TARGET_HELP)
    _add_listening(dev)


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    serve = commands.add_parser("serve", help="serve agents over HTTP")
    serve.add_argument("target", help=TARGET_HELP)
    _add_listening(serve)
    serve.add_argument(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="serve GET /metrics on this port too, without a key, to whoever reaches it",
    )
    serve.add_argument(
        "--delete-closed-after", type=float, metavar="DAYS", help="remove sessions that were closed so long ago (never)"
    )
    serve.add_argument(
        "--delete-idle-after", type=float, metavar="DAYS", help="remove sessions that nobody used for so long (never)"
    )
    serve.add_argument(
        "--delete-records-after",
        type=float,
        metavar="DAYS",
        help="empty inputs that were answered so long ago (never)",
    )
    serve.add_argument("--playground", action="store_true", help="serve the chat page at / (for agents, not for apps)")
    serve.add_argument(
        "--grace", type=float, default=20.0, metavar="SECONDS", help="what running turns get to end after SIGTERM (20)"
    )
    serve.add_argument(
        "--role",
        choices=("all", "web", "worker"),
        help="what this process does, where processes share a store: web takes inputs and is read from, worker answers "
        "(CHATRT_ROLE, else all)",
    )
    serve.add_argument(
        "--max-runs", type=int, metavar="N", help="how many chats are served at once at most (CHATRT_MAX_RUNS)"
    )


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (8000)")
    parser.add_argument("--store", metavar="URL", help="the store (sqlite:///chatrt.db)")
    parser.add_argument("--secret-key", metavar="KEY", help="better given as CHATRT_SECRET_KEY: others can see flags")
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="how much to log (info)"
    )


def _add_chat(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    chat = commands.add_parser("chat", help="talk to an agent in the terminal, or through a pipe")
    chat.add_argument("target", nargs="?", help=TARGET_HELP)
    chat.add_argument("--url", help="a chatrt server to talk to, instead of a target; its key is CHATRT_SECRET_KEY")
    chat.add_argument("--agent", metavar="ID", help="the agent; needed with --url, and when a target has several")
    chat.add_argument("--id", metavar="CHAT", help="the chat to go on with; a new one by default")
    chat.add_argument("--store", metavar="URL", help="where a target keeps the chat (memory://)")


def _add_mcp(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    mcp = commands.add_parser("mcp", help="serve agents as MCP tools over standard input and output")
    mcp.add_argument("target", nargs="?", help=TARGET_HELP)
    mcp.add_argument(
        "--url", help="a chatrt server whose agents to serve, instead of a target; its key is CHATRT_SECRET_KEY"
    )
    mcp.add_argument("--agent", metavar="ID", action="append", help="an agent to serve; all of a target by default")
    mcp.add_argument("--store", metavar="URL", help="where a target keeps the chats (memory://)")


def _add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    backup = commands.add_parser("backup", help="copy a SQLite store to a file, while it is served or not")
    backup.add_argument("target", help="a file that is not there yet, or a folder")
    backup.add_argument("--store", metavar="URL", help="the store (CHATRT_STORE, else sqlite:///chatrt.db)")
    restore = commands.add_parser("restore", help="put a backup in the place of a SQLite store that nobody serves")
    restore.add_argument("backup", help="what `chatrt backup` wrote")
    restore.add_argument("--store", metavar="URL", help="the store (CHATRT_STORE, else sqlite:///chatrt.db)")


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    doctor = commands.add_parser("doctor", help="look for what is wrong with the set-up, and say what to do about it")
    doctor.add_argument("target", nargs="?", help=TARGET_HELP)
    doctor.add_argument("--store", metavar="URL", help="the store (CHATRT_STORE, else sqlite:///chatrt.db)")
    doctor.add_argument(
        "--url", help="a server as its clients reach it, through its proxy; its key is CHATRT_SECRET_KEY"
    )
    doctor.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="with --url: watch a quiet stream for so long (0)"
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    migrate = commands.add_parser("migrate", help="bring the tables of a PostgreSQL store to this version, or back")
    migrate.add_argument("--store", metavar="URL", help="the store (CHATRT_STORE)")
    migrate.add_argument("--to", type=int, metavar="VERSION", help="another version than the newest")
    migrate.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    migrate.add_argument("--yes", action="store_true", help="with --to 0: remove all sessions")


def _add_openapi(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    openapi = commands.add_parser("openapi", help="write the OpenAPI document of the HTTP interface")
    openapi.add_argument("target", nargs="?", help=f"{TARGET_HELP}; left out, the document names no agents")
    _add_out(openapi)


def _add_types(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    types = commands.add_parser("types", help="write TypeScript declarations of agents: actions, client data, tools")
    types.add_argument("target", help=TARGET_HELP)
    _add_out(types)
    types.add_argument(
        "--no-ai-sdk",
        dest="ai_sdk",
        action="store_false",
        help="leave out the message types of the AI SDK: nothing is imported then",
    )


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", metavar="FILE", help="where to write; standard output by default")
