"""The pages of the manual: how to do things, where the reference says what each name is.

| page | is about |
| --- | --- |
| `asana_jobs.guides.waiting` | await a job, watch it, watch many; deadlines, going on later, trouble that passes |
| `asana_jobs.guides.bulk` | start many jobs, each once; the ledger; what to do about an unknown start |
| `asana_jobs.guides.exports` | export to a file, or record by record |
| `asana_jobs.guides.limits` | Asana's rate limits, several processes with one token, when a job is looked at |
| `asana_jobs.guides.proxies` | the token, proxies, certificates, plain http |
| `asana_jobs.guides.troubleshooting` | what a message means, and what to do |
| `asana_jobs.guides.migration` | from the official package, or from a loop of your own |
| `asana_jobs.guides.recipes` | a wait inside of Airflow, of Temporal, and of a step in CI |

Some pages stand where their code is, in a module or a package:

| page | is about |
| --- | --- |
| `asana_jobs.operations` | what can be started; templates, with their dates and roles |
| `asana_jobs.testing` | tests of your own code: pytest, a simulator in a terminal or in a compose file |
| `asana_jobs.worker` | more than one machine: a queue, a shared budget, your own engine |
| `asana_jobs.progress` | bars while something runs, in a terminal or in a notebook |
| `asana_jobs.sync` | the calls without asyncio |
| `asana_jobs.mcp` | a server for assistants |
| `asana_jobs.events` | events, logging, OpenTelemetry |
| `asana_jobs.errors` | every error, and when it is raised |
| `asana_jobs.policies` | the numbers: how often, how long, how many |

In a terminal `asana-jobs help waiting` prints a page, and `asana-jobs help` lists them all; in Python
`help("asana_jobs.guides.waiting")` does. Every example is run by the tests. Most need a token in
`ASANA_ACCESS_TOKEN`; without an account, leave `asana-jobs simulate` running in another terminal, and set the two
variables that it prints.
"""
