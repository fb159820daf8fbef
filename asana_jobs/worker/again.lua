-- Ends a step, and has the next one made if there is one: docket's calls for that in one, without what nobody reads.
-- KEYS: docket's stream, and what docket knows of the step; of the line in which it goes on, which may be the same, the
-- stream, the queue of what is due later, where the step is parked meanwhile, and what docket knows of it; the wait's
-- record, unless that is on another node.
-- ARGV: docket's group of workers, the step's message and its generation; when the next one is due, as a number and as a
-- date, and whether that is 'later', 'now' or 'never'; its key, its function, its positional and its named arguments;
-- a field and a value that are to be written into the record, if any, and the record's mark, see `as_read.lua`.
-- Answers whether there is a next one: not if somebody has scheduled another one meanwhile. What has ended has none,
-- unless it was forgotten and put in anew, which this step was known for.
local stream, runs, then_stream, queue, parked, then_runs, record = unpack(KEYS)
local group, message, generation, moment, date, due = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
if ARGV[11] and is_as_read(record, ARGV[13]) then
  redis.call('HSET', record, ARGV[11], ARGV[12])
end
local stored = tonumber(redis.call('HGET', runs, 'generation') or 0)
redis.call('XACK', stream, group, message)
redis.call('XDEL', stream, message)
if generation > 0 and stored > generation then
  return 0
end
if due == 'never' then
  if not record or redis.call('HEXISTS', record, 'spec') == 0 or redis.call('HEXISTS', record, 'result') == 1 then
    if stored <= generation then
      redis.call('DEL', runs)
    end
    return 0
  end
  due = 'now'
end
if then_runs ~= runs then
  redis.call('DEL', runs)
  local known = redis.call('HMGET', then_runs, 'known', 'state')
  if known[1] or known[2] == 'running' then
    return 0
  end
end
local step = { 'key', ARGV[7], 'when', date, 'function', ARGV[8], 'args', ARGV[9], 'kwargs', ARGV[10], 'attempt', '1',
  'generation', redis.call('HINCRBY', then_runs, 'generation', 1) }
if due == 'now' then
  local id = redis.call('XADD', then_stream, '*', unpack(step))
  redis.call('HSET', then_runs, 'state', 'queued', 'when', moment, 'known', moment, 'stream_id', id)
else
  redis.call('HSET', parked, unpack(step))
  redis.call('ZADD', queue, moment, ARGV[7])
  redis.call('HSET', then_runs, 'state', 'scheduled', 'when', moment, 'known', moment)
  redis.call('HDEL', then_runs, 'stream_id')
end
return 1
