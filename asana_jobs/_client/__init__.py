"""Everything behind `AsanaClient`, one folder a concern; a folder imports only folders below it.

From the top: `exports`, `bulk`, `waiting`, `http`, `telemetry`, `limits`. Who looks for *retry* or *timeout* finds
`http.api_session`, for *backoff* `http.retrying`, for *poll* `waiting.poller`, for *rate limit* `limits`, for *proxy*
and *certificate* `http.network`, for *connection* `http.connections`, for *base URL* `http.origin`.

The words that are used here, each with one meaning:

look            one ``GET`` of a job, to see whether it has finished; *routine* unless somebody waits for the first
budget          what Asana lets one token do: a pace, requests in flight, running jobs
gate            who asks for a request to go, waits here until the budget has room
lease           the right to send one request, given by a gate and given back with its outcome
lane            those who wait at a gate with equal priority
cooldown        the pause of a whole budget after a 429, until one probe is answered
poller          the one who looks at the jobs of a client, and spends the budget for that
watched job     a job in which anybody is interested; it is looked at once, whoever waits
subscription    the interest of one waiter, or of one entry of a monitor, in a watched job
schedule        which job to look at next, and when: the look that saves the most lag goes first
lag             seconds between the end of a job and the look that sees it
durations       how long jobs took, learned as they finish: hazards over age, per kind of job
backoff         growing pauses between repetitions; *jitter* is the part of them that is drawn at random
wait            from the first use until the job has finished; a *waiter* is how people hold it
deadline        the moment at which a wait gives up; what continues it is its *continuation token*
transport       what carries one request to Asana and its answer back; the only place that knows the HTTP library
intent          the note in the ledger, made before a ``POST``, that a job is about to be started
ledger          the file that remembers what a bulk run was asked to start, and what came of it
permit          the right of one operation to have an unfinished job; on many machines it is a *place*
claim           the right of one process to start the operation of one row of a ledger
"""
