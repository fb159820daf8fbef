-- Has the steps of many waits made, except for those that docket knows: its own call for that is one for each step.
-- KEYS: docket's stream. ARGV: docket's prefix, the moment as a number and as a date, the function, its positional and
-- its named arguments, and the key of each step. Answers how many are new.
local stream, prefix, moment, date = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local added = 0
for place = 7, #ARGV do
  local key = ARGV[place]
  local runs = prefix .. ':runs:' .. key
  local known = redis.call('HMGET', runs, 'known', 'state')
  if not known[1] and known[2] ~= 'running' then
    redis.call('PERSIST', runs) -- an older version's docket keeps what has ended for a minute
    local generation = redis.call('HINCRBY', runs, 'generation', 1)
    local id = redis.call('XADD', stream, '*', 'key', key, 'when', date, 'function', ARGV[4], 'args', ARGV[5],
      'kwargs', ARGV[6], 'attempt', '1', 'generation', generation)
    redis.call('HSET', runs, 'state', 'queued', 'when', moment, 'known', moment, 'stream_id', id)
    added = added + 1
  end
end
return added
