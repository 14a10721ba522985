"""The ``hymem`` command: the API's names, readable tables, ``--json`` everywhere.

Exit codes: 0 done, 1 an error (told on standard error), 2 wrong usage, 3 nothing found, or no such
scope (told on standard error too), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypedDict

from hymem.cli_options import (
    add_budget,
    add_metadata,
    add_now,
    file,
    filter_of,
    metadata_of,
    moment,
    no_such_scope,
    scope_options,
    shared_options,
    where_options,
)
from hymem.cli_output import cell, day, note, show, table
from hymem.errors import HyMemError, InputError
from hymem.exports.jsonl import decoded, read_lines
from hymem.types import Scope

if TYPE_CHECKING:
    from hymem.memory import HyMem
    from hymem.types import Encoder

NOTHING_FOUND = 3
LISTED = 100

_EXAMPLES = """\
examples:
  hymem add "I moved to Lyon last week." --user ana --time 2026-03-02
  hymem add --file chat.jsonl --user ana      one {"role", "content", ...} a line; - reads the pipe
  hymem search "where does Ana live" --user ana
  hymem recall "where does Ana live" --user ana --max-tokens 500
  hymem ask "Where does Ana live?" --user ana
  hymem chat --user ana --model gpt-4.1-mini
  hymem get-all --user ana --kind unit --metadata channel=web
  hymem scopes
  hymem costs --by stage,model --all
  hymem export memory.jsonl --all
  hymem reembed --encoder st:all-MiniLM-L6-v2

A scope is the exact pair of --user and --agent; an omitted one is no wildcard. Commands that can
act on every scope do so with --all. Without a model (no OPENAI_API_KEY, no --model),
everything but chat works by rules, offline. Options of every command may stand before it too.
Into a pipe, lists go as tab-separated lines without a head. --metadata KEY=VALUE takes JSON or a
string, and in a search a dict of operators: --metadata 'year={"gte": 2020}'.

exit codes: 0 done, 1 error, 2 wrong usage, 3 nothing found or no such scope, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    if sys.stdout is None:  # closed by whoever started us
        return 1
    # Whoever keeps one memory of their own need give no --user.
    warnings.filterwarnings("ignore", message="neither user_id nor agent_id")
    try:
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_stdout()
        return 0
    except _NoSuchScopeError as error:
        note(str(error))
        return NOTHING_FOUND
    except (HyMemError, OSError) as error:  # OSError: standard output cannot be written
        note(str(error))
        if isinstance(error, OSError):
            _leave_stdout()
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _leave_stdout() -> None:
    """What could not be written is not tried again when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# -- the commands --


def _add(arguments: argparse.Namespace) -> int:
    messages = _messages(arguments)
    with _open(arguments) as memory:
        ids = memory.add(
            messages,
            **_scope(arguments),
            session_id=arguments.session,
            timestamp=arguments.time,
            metadata=metadata_of(arguments),
            on_known=arguments.on_known,
            wait=True,
        )
    _show(arguments, {"ids": ids}, f"saved {len(ids)} turn{'s' if len(ids) != 1 else ''}")
    return 0


def _search(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        hits = memory.search(
            arguments.query,
            **_scope(arguments),
            limit=arguments.limit,
            where=filter_of(arguments),
            now=arguments.now,
        )
    rows = [
        (hit.id, hit.kind, f"{hit.score:.2f}", day(hit.time), hit.speaker, hit.text) for hit in hits
    ]
    _table(arguments, hits, ("id", "kind", "score", "time", "speaker", "text"), rows)
    return 0 if hits else NOTHING_FOUND


def _recall(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        context = memory.recall(
            arguments.query,
            **_scope(arguments),
            max_tokens=arguments.max_tokens,
            where=filter_of(arguments),
            now=arguments.now,
        )
    _show(arguments, context, context.text or "nothing found")
    return 0 if context.found and context.text else NOTHING_FOUND


def _ask(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        answer = memory.ask(
            arguments.query,
            **_scope(arguments),
            where=filter_of(arguments),
            budget=arguments.budget,
            now=arguments.now,
        )
    usage = answer.usage
    spent = "unknown" if usage.usd is None else f"${usage.usd:.6f}"
    lines = [answer.text, ""]
    lines += [f"  [{hit.id}] {day(hit.time)} {hit.speaker}: {hit.text}" for hit in answer.evidence]
    lines.append(
        f"tier {answer.tier}, mode {answer.mode}, {usage.calls} calls, "
        f"{usage.input_tokens + usage.output_tokens} tokens, {spent}"
    )
    _show(arguments, answer, "\n".join(lines))
    return 0 if answer.found else NOTHING_FOUND


def _chat(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        history: list[dict[str, str]] = []
        print("Type a message; an empty line ends the chat.", file=sys.stderr)
        while (said := _read_line("> ")).strip():
            history.append({"role": "user", "content": said})
            reply = []
            for piece in memory.chat_stream(
                history,
                **_scope(arguments),
                session_id=arguments.session,
                budget=arguments.budget,
            ):
                print(piece, end="", flush=True)
                reply.append(piece)
            print()
            history.append({"role": "assistant", "content": "".join(reply)})
        memory.flush(**_scope(arguments))
    return 0


def _get(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        item = memory.get(arguments.id, **_scope(arguments))
    _show(arguments, item, f"{day(item.time)} {getattr(item, 'speaker', '')} {item.text}")
    return 0


def _get_all(arguments: argparse.Namespace) -> int:
    if arguments.limit < 0:
        raise InputError("--limit must be 0, for all, or more")
    with _open_scope(arguments) as memory:
        found = memory.get_all(**_scope(arguments), where=filter_of(arguments))
    items = found[: arguments.limit or None]
    rows = [
        (
            item.id,
            type(item).__name__.lower(),
            day(item.time),
            getattr(item, "speaker", ""),
            item.text,
        )
        for item in items
    ]
    _table(arguments, items, ("id", "kind", "time", "speaker", "text"), rows)
    if len(items) < len(found):
        note(f"… and {len(found) - len(items)} more; --limit 0 shows all")
    return 0 if items else NOTHING_FOUND


def _history(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        events = memory.history(arguments.id, **_scope(arguments))
    rows = [(event["at"], event["event"], event["text"]) for event in events]
    _table(arguments, events, ("at", "event", "text"), rows)
    return 0


def _update(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        memory.update(arguments.id, arguments.text, **_scope(arguments))
        memory.flush(**_scope(arguments))
    _show(arguments, {"updated": arguments.id}, f"updated {arguments.id}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        memory.delete(arguments.id, **_scope(arguments))
        memory.flush(**_scope(arguments))
    _show(arguments, {"deleted": arguments.id}, f"deleted {arguments.id}")
    return 0


def _delete_all(arguments: argparse.Namespace) -> int:
    if not arguments.yes:
        raise InputError("this removes the scope's whole memory; repeat with --yes to do it")
    with _open(arguments) as memory:
        wanted, scopes = Scope(**_scope(arguments)), memory.scopes()
        # Also where there is no such scope: an earlier deletion may not have come to its end.
        count = memory.delete_all(**_scope(arguments))
        if wanted not in scopes:
            raise _NoSuchScopeError(no_such_scope(wanted, scopes, arguments.db))
    _show(arguments, {"deleted": count}, f"deleted {count} memories")
    return 0


def _delete_user(arguments: argparse.Namespace) -> int:
    if not arguments.yes:
        raise InputError("this removes all that is kept of the user; repeat with --yes to do it")
    with _open(arguments) as memory:
        scopes = memory.scopes()
        count = memory.delete_user(arguments.name)
        if all(scope.user_id != arguments.name for scope in scopes):
            wanted = Scope(arguments.name)
            raise _NoSuchScopeError(no_such_scope(wanted, scopes, arguments.db))
    _show(arguments, {"deleted": count}, f"deleted {count} memories")
    return 0


def _scopes(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        scopes = memory.scopes()
    rows = [(scope.user_id or "", scope.agent_id or "", scope_options(scope)) for scope in scopes]
    _table(arguments, scopes, ("user", "agent", "options"), rows)
    return 0 if scopes else NOTHING_FOUND


def _users(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        users = memory.users()
    _table(arguments, users, ("user",), [(user,) for user in users])
    return 0 if users else NOTHING_FOUND


def _flush(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        status = memory.flush(**_scope_or_all(arguments))
    _show(arguments, status, _status_text(asdict(status)))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        status = memory.status(**_scope_or_all(arguments))
    _show(arguments, status, _status_text(asdict(status)))
    return 0


def _costs(arguments: argparse.Namespace) -> int:
    from hymem.cost.prices import source

    by = tuple(name.strip() for name in arguments.by.split(","))
    with _open_scope(arguments) as memory:
        rows = memory.costs(by=by, since=arguments.since, **_scope_or_all(arguments))
    columns = (*by, "calls", "input_tokens", "output_tokens", "cached_tokens", "usd", "seconds")
    cells = [[cell(row[column]) for column in columns] for row in rows]
    _table(arguments, rows, columns, cells)
    if not arguments.json:
        note(f"prices: {source()}, where none were given")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with _open_scope(arguments) as memory:
        count = memory.export(arguments.file, **_scope_or_all(arguments))
    _show(arguments, {"records": count}, f"wrote {count} records to {arguments.file}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        count = memory.import_(arguments.file)
    _show(arguments, {"added": count}, f"added {count} memories from {arguments.file}")
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        memory.backup(arguments.file)
    _show(arguments, {"backup": arguments.file}, f"backup written to {arguments.file}")
    return 0


def _compact(arguments: argparse.Namespace) -> int:
    with _open(arguments) as memory:
        freed = memory.compact()
    _show(arguments, {"freed": freed}, f"gave {freed:,} bytes back")
    return 0


def _reembed(arguments: argparse.Namespace) -> int:
    from hymem.reembedding import reembed

    _check_exists(arguments)
    count = reembed(arguments.db, _encoder(arguments))
    _show(arguments, {"reembedded": count}, f"embedded {count} memories anew")
    return 0


# -- arguments --


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    shared = shared_options(first=False)
    where = where_options()
    parser = argparse.ArgumentParser(
        parents=[shared_options(first=True)],
        prog="hymem",
        description="Long-term memory for LLM chat applications.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hymem {version('hymem')}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *more: Any
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[shared, *more])
        sub.set_defaults(run=run)
        return sub

    add = command("add", _add, "save a message, or a file of messages")
    add.add_argument("text", nargs="?", help="what the user said")
    add.add_argument("--file", help="JSON lines of messages; - reads standard input")
    add.add_argument("--session", help="session id of these messages")
    add.add_argument("--time", help="when it was said, ISO 8601 (default: now)")
    add.add_argument(
        "--on-known",
        choices=("ignore", "update", "error"),
        default="ignore",
        help="what to do with a new text under an id that is known (default ignore, and say so)",
    )
    add_metadata(add, "metadata of these messages")
    for name, run, text in (
        ("search", _search, "list matching turns and units; never asks a model"),
        ("recall", _recall, "print a block of recalled text for a prompt"),
        ("ask", _ask, "answer a question from memory"),
    ):
        asking = command(name, run, text, where)
        asking.add_argument("query", help="a question or a few words")
        add_now(asking)
    _option(commands, "search", "--limit", 10, "how many hits")
    _option(commands, "recall", "--max-tokens", 1000, "the block's token budget")
    add_budget(commands.choices["ask"])
    chat = command("chat", _chat, "talk to the model with the memory on")
    add_budget(chat)
    chat.add_argument("--session", help="session id of this conversation")
    listing = command("get-all", _get_all, "list the memories of a scope", where)
    listing.add_argument(
        "--limit", type=int, default=LISTED, help=f"how many, 0 for all (default {LISTED})"
    )
    for name, run, text in (
        ("get", _get, "show one memory"),
        ("history", _history, "show how one memory changed"),
        ("update", _update, "replace a memory's text; the old text stays in its history"),
        ("delete", _delete, "remove one memory and what rests on it"),
    ):
        command(name, run, text).add_argument("id", type=int, help="the memory's id")
    commands.choices["update"].add_argument("text", help="the new text")
    command("delete-all", _delete_all, "remove everything of a scope, down to its bytes")
    command(
        "delete-user", _delete_user, "remove every scope of a user, with whichever agent"
    ).add_argument("name", metavar="user", help="the user's id")
    for name in ("delete-all", "delete-user"):
        commands.choices[name].add_argument("--yes", action="store_true", help="yes, remove it all")
    command("scopes", _scopes, "list every scope: pairs of user and agent")
    command("users", _users, "list every user")
    command("flush", _flush, "extract what waits, failed events once more included")
    command("status", _status, "count turns, units and events")
    costs = command("costs", _costs, "what the model calls cost")
    costs.add_argument(
        "--by",
        default="stage,tier,model",
        help="group by any of stage,tier,model,scope,day (default stage,tier,model)",
    )
    costs.add_argument("--since", type=moment, help="only calls since this time, ISO 8601")
    for name, run, text in (
        ("export", _export, "write the memory as JSON lines"),
        ("import", _import, "read JSON lines that export wrote"),
        ("backup", _backup, "write a consistent copy of the database"),
    ):
        command(name, run, text).add_argument("file", type=file, help="the file's path")
    command("compact", _compact, "give the room of deleted memories back to the disk")
    command("reembed", _reembed, "encode every memory anew, with the encoder that --encoder names")
    for name in ("flush", "status", "costs", "export"):
        commands.choices[name].add_argument("--all", action="store_true", help="of every scope")
    return parser


def _option(commands: Any, name: str, option: str, default: int, text: str) -> None:
    commands.choices[name].add_argument(
        option, type=int, default=default, help=f"{text} (default {default})"
    )


def _open(arguments: argparse.Namespace) -> HyMem:
    """The memory that ``--db`` names. Only commands that write into it may make it: a mistyped
    name would otherwise look like an empty memory."""
    from hymem.llm.openai import OpenAIChat
    from hymem.memory import HyMem
    from hymem.types import LLM

    _check_exists(arguments)
    llm: LLM | str = "auto"
    if arguments.model or arguments.base_url:
        if not arguments.model:
            raise InputError("--base-url needs --model, the model's name at that endpoint")
        llm = OpenAIChat(arguments.model, base_url=arguments.base_url)
    return HyMem(
        arguments.db,
        llm=llm,
        encoder=_encoder(arguments),
        background=False,
        timezone=arguments.timezone,
    )


def _encoder(arguments: argparse.Namespace) -> Encoder | None:
    from hymem.encoders.named import encoder_named

    return None if arguments.encoder is None else encoder_named(arguments.encoder)


class _NoSuchScopeError(HyMemError):
    """Nothing was ever added to the scope that is named."""


@contextmanager
def _open_scope(arguments: argparse.Namespace) -> Iterator[HyMem]:
    """The memory, for a command about one scope that is there (or about ``--all``). A mistyped name
    would otherwise look like an empty memory. Raises ``_NoSuchScopeError``."""
    with _open(arguments) as memory:
        wanted, scopes = Scope(**_scope(arguments)), memory.scopes()
        if scopes and wanted not in scopes and not getattr(arguments, "all", False):
            raise _NoSuchScopeError(no_such_scope(wanted, scopes, arguments.db))
        yield memory


def _check_exists(arguments: argparse.Namespace) -> None:
    if arguments.run not in (_add, _import, _chat) and not os.path.exists(arguments.db):
        raise InputError(f"there is no {arguments.db}; name a database with --db, or add to it")


class _Scope(TypedDict):
    user_id: str | None
    agent_id: str | None


class _ScopeOrAll(_Scope):
    all_scopes: bool


def _scope(arguments: argparse.Namespace) -> _Scope:
    return {"user_id": arguments.user, "agent_id": arguments.agent}


def _scope_or_all(arguments: argparse.Namespace) -> _ScopeOrAll:
    return {**_scope(arguments), "all_scopes": arguments.all}


def _messages(arguments: argparse.Namespace) -> Any:
    if (arguments.text is None) == (arguments.file is None):
        raise InputError("give either a text or --file")
    if arguments.file is None:
        return arguments.text
    if arguments.file != "-":
        return [message for _, message in read_lines(arguments.file)]
    if sys.stdin is None:
        raise InputError("standard input is closed; pipe the messages in, or name a file")
    return [message for _, message in decoded(sys.stdin, "standard input")]


def _read_line(prompt: str) -> str:
    try:
        return input(prompt if sys.stdin.isatty() else "")
    except EOFError:
        return ""


def _status_text(status: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{name.replace('_', ' '):12} {value}"
        for name, value in status.items()
        if not isinstance(value, Mapping)
    ) + "".join(f"\nevents {name:9} {count}" for name, count in status["events"].items())


def _show(arguments: argparse.Namespace, value: Any, text: str) -> None:
    show(value, text, as_json=arguments.json)


def _table(
    arguments: argparse.Namespace,
    values: Any,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    table(values, columns, rows, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
