-- Looks whether the queue is on the server it was, see `server.lua`.
-- KEYS: the server that the queue was last seen on. ARGV: whether this worker has seen it before: '1'.
-- Answers which server it is, and since when: another moment is another server, or one that has forgotten everything.
local run, since = last_seen(KEYS[1], ARGV[1] == '1')
return { run, string.format('%.6f', since) }
