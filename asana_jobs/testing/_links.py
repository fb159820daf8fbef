"""Download links signed as Amazon S3 signs them: made on every read of a job, good for minutes.

Source: the sample links in the public OpenAPI document (`X-Amz-Expires=300`), and S3's general
behaviour. The signature covers path and query byte for byte: a client that re-encodes a link breaks it.
"""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from attrs import define, frozen

from asana_jobs.testing._operations import ORGANIZATION_EXPORT
from asana_jobs.testing._time import SimulatorTime


_DATE = "%Y%m%dT%H%M%SZ"
_SIGNATURE = "&X-Amz-Signature="
_FOLDERS = {
    "export_graph": "domain_export",
    ORGANIZATION_EXPORT: "domain_export",
    "export_resource": "object_export",
}


@frozen
class Refusal:
    """Why a link is not good: S3's error code and message, and further elements of the error."""

    status: int
    code: str
    message: str
    details: tuple[tuple[str, str], ...] = ()


@define
class Links:
    """Makes and checks links.

    Attributes:
        seconds: how long a link is good for.
        secret: the signing key.
        generation: links of earlier generations have expired.
    """

    time: SimulatorTime
    seconds: float
    secret: str
    generation: int = 1

    def link(self, origin: str, kind: str, subject: str, gid: str) -> str:
        """A new link to the file of an export."""
        now = self.time.calendar().astimezone(UTC)
        folder = _FOLDERS.get(kind, "domain_export")
        ending = "jsonl.gz" if kind == "export_resource" else "json.gz"
        path = f"/{subject}/{folder}/{gid}/download/{folder}_{subject}_{gid}.{ending}"
        query = "&".join(
            [
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                f"X-Amz-Credential=ASIASIMULATOR%2F{now:%Y%m%d}%2Fus-east-1%2Fs3%2Faws4_request",
                f"X-Amz-Date={now:{_DATE}}",
                f"X-Amz-Expires={max(1, round(self.seconds))}",
                f"X-Amz-Security-Token=generation%2F{self.generation}",
                "X-Amz-SignedHeaders=host",
                "x-id=GetObject",
            ]
        )
        return f"{origin}{path}?{query}{_SIGNATURE}{self._sign(f'GET {path}?{query}')}"

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def check(self, method: str, raw_path: str) -> Refusal | None:
        """Why this request for a link is refused; None when the link is good."""
        signed, _, signature = raw_path.partition(_SIGNATURE)
        if not signature:
            return Refusal(403, "AccessDenied", "Access Denied")
        expected = self._sign(f"{method} {signed}")
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            return Refusal(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
            )
        query = dict(parse_qsl(signed.partition("?")[2]))
        made = datetime.strptime(query["X-Amz-Date"], _DATE).replace(tzinfo=UTC)
        expiry = made + timedelta(seconds=int(query["X-Amz-Expires"]))
        now = self.time.calendar()
        current = query["X-Amz-Security-Token"] == f"generation/{self.generation}"
        if current and now < expiry:
            return None
        details = (
            ("X-Amz-Expires", query["X-Amz-Expires"]),
            ("Expires", f"{expiry:%Y-%m-%dT%H:%M:%SZ}"),
            ("ServerTime", f"{now:%Y-%m-%dT%H:%M:%SZ}"),
        )
        return Refusal(403, "AccessDenied", "Request has expired", details)
