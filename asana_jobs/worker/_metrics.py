"""Metrics for Prometheus, of the engine and of the clients, where the application has set nothing else up."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from docket.instrumentation import metrics_server


@contextmanager
def serve_metrics(port: int | None) -> Generator[None, None, None]:
    """Serve the metrics of docket and of `AsanaClient` for Prometheus at *port* of all interfaces, in a thread.

    It is OpenTelemetry's global meter provider from then on, so it comes before the first client, and an application
    that has one of its own exports by that. Needs the extra ``metrics``.

    Args:
        port: Such as 9464; ``None`` serves nothing.

    Raises:
        ImportError: the packages are not installed; the message says which.
        OSError: the port is taken.
    """
    with ExitStack() as serving:
        try:
            serving.enter_context(metrics_server(port=port))
        except ImportError as error:
            raise ImportError(
                f"serving metrics needs more packages ({error}): pip install 'asana-jobs[metrics]'"
            ) from error
        yield
