"""The way to Asana: the token, proxies, certificates, plain http, and a session of your own.

`asana-jobs doctor` says which token is used, through which proxy and with which certificates, and whether Asana answers:

```console
$ asana-jobs doctor
```

(`pip install 'asana-jobs[cli]'`.)

## The token

A personal access token is made in Asana's [developer console](https://app.asana.com/0/my-apps). It is handed over as
`AsanaClient(token)`, or found in the first of these that is set:

| variable | holds |
| --- | --- |
| `ASANA_ACCESS_TOKEN`, `ASANA_PAT`, `ASANA_TOKEN` | the token |
| `ASANA_ACCESS_TOKEN_FILE` | the name of a file with the token, such as a mounted secret |

A token of OAuth lasts an hour. In its place hand over an async callable: it is asked for a token at first, and again when
Asana refuses the one it gave. `OAuthRefresh` is such a callable:

```python
import asyncio

from asana_jobs import AsanaClient, OAuthRefresh


async def main(client_id: str, client_secret: str, refresh_token: str) -> None:
    async with AsanaClient(OAuthRefresh(client_id, client_secret, refresh_token)) as asana:
        print((await asana.wait_for_job("1205")).status)


if __name__ == "__main__":
    asyncio.run(main("1209", "the app's secret", "the user's refresh token"))
```

The token goes to the configured origin only: no redirect is followed, and links to files are fetched without it. No
message, log line, span, ledger or pickle shows it.

## Proxies

`HTTPS_PROXY` (or `ALL_PROXY`) and `NO_PROXY` hold as for curl, for https only; `.netrc` is not read.

```console
export HTTPS_PROXY=http://user:password@proxy.example:3128
export NO_PROXY=localhost,.internal.example
```

`AsanaClient(proxy="http://proxy.example:3128")` names one, and `proxy=""` takes none. The proxy makes a tunnel and sees
neither token nor answer. What fails before the tunnel stands, such as a 407, is a `ConnectError`: nothing was sent.
Proxies that speak SOCKS are not supported; a session of your own can bring one.

## Certificates

They are trusted as Python trusts them, and as `SSL_CERT_FILE` and `SSL_CERT_DIR` say. There belongs the certificate of a
company's proxy that opens https:

```console
export SSL_CERT_FILE=/etc/ssl/certs/company.pem
```

All of these variables are read when a client is made.

## Plain http

The token is sent in clear to this machine only. Another host, such as a simulator in a compose file
(`asana_jobs.testing`), needs `AsanaClient(allow_plain_http=True)` or `ASANA_ALLOW_PLAIN_HTTP=1`; it is logged.

## A session of your own

An aiohttp session brings its proxy, certificates and resolver, for files of exports too. It is not closed.

```python
import asyncio

import aiohttp

from asana_jobs import AsanaClient


async def main() -> None:
    connector = aiohttp.TCPConnector(limit=20, ttl_dns_cache=60)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        AsanaClient(session=session) as asana,
    ):
        print((await asana.wait_for_job("1205")).status)


asyncio.run(main())
```

Starts share its connections then, where otherwise each has one of its own: one that the other side has closed meanwhile
leaves a start unknown. A session with middlewares is refused, since these may send one request several times.

In the reference: `asana_jobs.AsanaClient`, `asana_jobs.OAuthRefresh`, `asana_jobs.errors.ConnectError`,
`asana_jobs.errors.TokenError`, `asana_jobs.errors.AuthenticationError`.
"""
