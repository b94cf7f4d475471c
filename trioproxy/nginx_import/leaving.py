"""Locations and servers that become no routes: what they do instead of proxying, and who gets their requests then.

Where one keeps somebody out, it is left out whole: a route without its rule would let everybody in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioproxy.nginx_import.known import CLOSES
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.statements import named, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.nginx_import.model import Levels, Location, Server
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement

_NOT_FOUND: Final = "404"
_ANSWERING: Final[Mapping[str, str]] = {
    "alias": "it serves files, and trioproxy serves none",
    "fastcgi_pass": "upstreams are spoken to in HTTP only",
    "grpc_pass": "HTTP/2 is not here, on purpose",
    "memcached_pass": "upstreams are spoken to in HTTP only",
    "return": "trioproxy has no answers of its own",
    "rewrite": "without proxy_pass a rewritten path leads to files or redirects",
    "root": "it serves files, and trioproxy serves none",
    "scgi_pass": "upstreams are spoken to in HTTP only",
    "stub_status": "see /metrics of the admin address",
    "try_files": "it serves files, and trioproxy serves none",
    "uwsgi_pass": "upstreams are spoken to in HTTP only",
}


def reason_to_leave(location: Location) -> str | None:
    """Why a location cannot become a route, whatever its path and its proxy_pass; None where nothing is in the way."""
    if location.match == "named":
        return "a named location is reached by try_files and error_page alone, which have no counterpart"
    guard = guarding(location.levels)
    if guard is not None:
        reason = CLOSES.get(guard.name, "conditions are not looked at")
        return f"line {guard.place.line}, {guard}: {reason}, and without it everybody would get in"
    if not named(location.own, "proxy_pass"):
        found = next((reason for name, reason in _ANSWERING.items() if named(location.own, name)), None)
        return found or "there is no proxy_pass in it: nginx looks for files, and trioproxy serves none"
    if named(location.own, "return"):
        return "its return answers before proxy_pass is reached, and trioproxy has no answers of its own"
    return None


def guarding(levels: Levels) -> Statement | None:
    """What keeps somebody out of these levels, if anything does."""
    for name in CLOSES:
        found = levels.find(name)
        if found is not None and found.value != "off":
            return found
    conditions = [each for level in levels.chain for each in named(level, "if")]
    return next((each for each in conditions if any(_refuses(inner) for inner in walk(each.inner))), None)


def leave(location: Location, covered_by: str | None, notes: Notes) -> None:
    """Say what becomes of a location that is no route; `covered_by` is the route that gets its requests now."""
    statement = location.statement
    inner = named(location.own, "location") if location.match != "regex" else []
    code = refusal(location)
    if code is not None and covered_by is None:
        notes.converted(statement, *(each for each in location.own if each not in inner))
        if code != _NOT_FOUND:
            notes.difference(statement, Meaning.NO_ROUTE, f"nginx answers {code}; here there is no route, which is 404")
        return
    reason = reason_to_leave(location) or _of_path(location)
    if covered_by is not None and location.match != "named":
        reason += f"; its requests go where {covered_by} leads now"
    if inner and not named(location.own, "proxy_pass", *_ANSWERING):
        notes.converted(statement)  # it only holds others
    else:
        notes.left_over(statement, reason, but=inner)


def error_pages(server: Server, notes: Notes) -> set[Location]:
    """The locations that only hold pages for `error_page`; these and it are short texts here."""
    found: set[Location] = set()
    for statement in server.levels.all("error_page"):
        target, codes = (statement.args[-1], statement.args[:-1]) if statement.args else ("", ())
        pages = [each for each in server.locations if each.path == target and _only_serves_files(each)]
        if not all(code.isdigit() for code in codes) or not target.startswith("/") or len(pages) != 1:
            notes.left_over(statement, "only pages from files of a location of their own are left away")
            continue
        said = f"nginx shows a page for errors of its own, {target}; here they are short texts with the same status"
        notes.difference(statement, Meaning.ERROR_PAGE, said)
        notes.converted(statement, pages[0].statement, *pages[0].own)
        found.add(pages[0])
    return found


def _only_serves_files(location: Location) -> bool:
    return location.match == "exact" and {each.name for each in location.own} <= {"root", "internal", "alias"}


def leave_details(server: Server, notes: Notes) -> None:
    """Directives that would be converted elsewhere, but not where they stand."""
    for statement in named(server.statement.inner, "rewrite"):
        notes.left_over(statement, "a path is changed in a location alone: strip_prefix, replace_prefix")
    for location in server.locations:
        for statement in named(location.own, "set_real_ip_from"):
            notes.left_over(statement, "whom to believe is a matter of listeners, not of locations")
        for statement in named(location.own, "error_page"):
            notes.left_over(statement, "only pages of a whole server are left away")


def leave_unreached(server: Server, notes: Notes, *, in_nginx: bool) -> None:
    """Say that a server's locations become no routes, because no request leads to it: here, or `in_nginx` neither."""
    for location in server.locations:
        if in_nginx:
            notes.harmless(location.statement, "no request leads to its server, in nginx neither")
        else:
            notes.left_over(location.statement, "its server has no address or no name left that leads here")


def leave_unguarded(server: Server, reason: str, notes: Notes) -> None:
    """Say that a server's locations become no routes, because clients without a certificate of theirs would get in."""
    verify = server.levels.find("ssl_verify_client")
    if verify is not None:
        notes.left_over(verify, reason)
    for location in server.locations:
        notes.left_over(location.statement, f"{reason}, and without it everybody would get in")


def leave_server(server: Server, notes: Notes) -> bool:
    """Whether the server answers everything by itself; it is accounted for then."""
    statement = next(iter(named(server.statement.inner, "return")), None)
    if statement is None:
        return False
    for location in server.locations:
        notes.harmless(location.statement, f"it is never reached: line {statement.place.line} answers before")
    if len(statement.args) == 1 and _is_refusal(statement.value):
        notes.converted(statement)
        if statement.value != _NOT_FOUND:
            said = f"nginx answers {statement.value}; here there is no route, which is 404"
            notes.difference(statement, Meaning.NO_ROUTE, said)
    else:
        notes.left_over(
            statement, "trioproxy has no answers of its own, redirects neither; here there is no route: 404"
        )
    return True


def refusal(location: Location) -> str | None:
    """The 4xx code that a location answers everything with; None where it does something else."""
    own = named(location.own, "return")
    if location.own and all((each.name, each.value) == ("deny", "all") for each in location.own):
        return "403"
    if own and len(own[0].args) == 1 and _is_refusal(own[0].value):
        return own[0].value
    return None


def _is_refusal(code: str) -> bool:
    return code.isdigit() and 400 <= int(code) <= 499  # noqa: PLR2004 - RFC 9110 section 15.5


def _of_path(location: Location) -> str:
    if location.match == "regex":
        return "a regular expression is no path, unless it begins with ^ and is literal; write its paths as locations"
    return "its proxy_pass or its path has no counterpart"


def _refuses(statement: Statement) -> bool:
    return statement.name == "deny" or (statement.name == "return" and _is_refusal(statement.value))
