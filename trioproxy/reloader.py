"""A reload as it is asked for: the file is read again, what it says is prepared and put in force, and everyone is told.

What preparing and putting in force mean is `reloading`'s story, when it is time for it `lifecycle`'s.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.config_file import ConfigError, load_config
from trioproxy.reloading import ReloadError, prepare_log

if TYPE_CHECKING:
    from trioproxy.config import Config
    from trioproxy.logs import Log
    from trioproxy.metrics import Metrics
    from trioproxy.server import Proxy
    from trioproxy.supervisor import Supervisor


class Result(StrEnum):
    """What became of a reload: the `result` label of `trioproxy_config_reloads_total`."""

    APPLIED = "applied"
    INVALID = "invalid"  # the file has mistakes
    REFUSED = "refused"  # it asks for what takes a restart, or what cannot be opened
    FAILED = "failed"  # a bug


@attrs.define(eq=False)
class Reloader:
    """Reloads one proxy from the file at `path`."""

    path: str
    log: Log
    proxy: Proxy | Supervisor

    def __attrs_post_init__(self) -> None:
        for result in Result:
            self._metrics.declare(m.CONFIG_RELOADS, (result,))
        self._in_force()  # what it started with

    async def reload(self) -> Result:
        """Bring the file into force, or change nothing and log why, problem by problem.

        Cancelling it changes nothing either.
        """
        started = trio.current_time()
        try:
            lost = await self._reload()
        except ConfigError as error:
            result = self._refused(Result.INVALID, error.problems)
        except ReloadError as error:
            result = self._refused(Result.REFUSED, error.problems)
        except Exception:  # the one around a background round
            self.log.exception("reload", result=Result.FAILED)
            result = Result.FAILED
            self._metrics.set(m.CONFIG_LAST_RELOAD_SUCCESSFUL, (), 0)
        else:
            result = Result.APPLIED
            self._in_force()
            seconds = round(trio.current_time() - started, 6)
            self.log.info("reload", result=result, tunnels_closing=lost, duration_s=seconds)
        self._metrics.inc(m.CONFIG_RELOADS, (result,))
        self._metrics.news += 1
        return result

    async def _reload(self) -> int:
        # In a thread: the file may be large, and the disk it is on slow.
        config: Config = await trio.to_thread.run_sync(load_config, self.path, abandon_on_cancel=True)
        log = prepare_log(self.log, config.log)
        try:
            prepared = await self.proxy.prepare(config)
        except BaseException:
            log.abandon()
            raise
        log.commit()
        return prepared.commit() + await prepared.lost_elsewhere()

    def _refused(self, result: Result, problems: list[str]) -> Result:
        for problem in problems:
            self.log.error("reload", result=result, reason=problem)
        self._metrics.set(m.CONFIG_LAST_RELOAD_SUCCESSFUL, (), 0)
        return result

    def _in_force(self) -> None:
        self._metrics.set(m.CONFIG_LAST_RELOAD_SUCCESSFUL, (), 1)
        self._metrics.set(m.CONFIG_LAST_RELOAD_SUCCESS, (), time.time())

    @property
    def _metrics(self) -> Metrics:
        return self.proxy.context.metrics
