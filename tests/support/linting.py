"""What httplint says against an answer, given the request it answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httplint

if TYPE_CHECKING:
    from support.http_client import Answer, Head

AGAINST = {httplint.levels.WARN, httplint.levels.BAD}


def lint(request: Head, answer: Answer) -> dict[str, str]:
    """The notes against it: name → what httplint says of it."""
    now = time.time()
    method, target, version = request.start.split(b" ")
    asked = httplint.HttpRequestLinter(start_time=now)
    asked.process_request_topline(method, target, version.removeprefix(b"HTTP/"))
    asked.process_headers(list(request.fields))
    asked.finish_content(complete=True)
    linter = httplint.HttpResponseLinter(start_time=now, _related=asked)
    linter.is_head_response = method == b"HEAD"
    answer_version, status, phrase = answer.start.split(b" ", 2)
    linter.process_response_topline(answer_version.removeprefix(b"HTTP/"), status, phrase)
    linter.process_headers(list(answer.fields))
    linter.feed_content(answer.body)
    linter.finish_content(complete=True)
    return {type(note).__name__: str(note.summary) for note in linter.notes if note.level in AGAINST}
