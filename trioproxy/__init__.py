"""A WebSocket load balancer on Trio."""

from trioproxy._version import __version__

__all__ = ["__version__"]
