-- On which server is the queue, and since when? Stands before `begin.lua` and `watch.lua`.
-- Redis forgets its last writes when it is killed, and when a replica takes its place; then its `run_id` is another one
-- than what the queue was last seen with. It forgets all when it is emptied; then that is gone too. Either way nothing
-- is started for a while, in which the workers write down again what they know.
local function last_seen(server, seen)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
  local told = redis.pcall('INFO', 'server')
  local run = type(told) == 'string' and told:match('run_id:(%w+)') or 'unknown' -- where INFO is forbidden
  local known = redis.call('HMGET', server, 'run', 'since')
  local since = tonumber(known[2] or 0)
  if known[1] ~= run then
    since = (known[1] or seen) and now or 0
    redis.call('HSET', server, 'run', run, 'since', string.format('%.6f', since))
  end
  return run, since, now
end
