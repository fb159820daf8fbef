-- Ends a step that is to be made again, and has it made then: docket's two calls in one, without what nobody reads.
-- KEYS: docket's stream, its queue of what is due later, where the step is parked meanwhile, what docket knows of it.
-- ARGV: docket's group of workers, the step's message and its generation, when the next one is due (a number and a
-- date), whether that is now ('1'), and the key, the function, the positional and the named arguments of the next step.
-- Answers whether it is made again: not if somebody has scheduled another one meanwhile.
local stream, queue, parked, runs = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, message, generation, moment, date, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6] == '1'
local stored = tonumber(redis.call('HGET', runs, 'generation') or 0)
redis.call('XACK', stream, group, message)
redis.call('XDEL', stream, message)
if generation > 0 and stored > generation then
  return 0
end
local step = { 'key', ARGV[7], 'when', date, 'function', ARGV[8], 'args', ARGV[9], 'kwargs', ARGV[10], 'attempt', '1',
  'generation', redis.call('HINCRBY', runs, 'generation', 1) }
if now then
  local id = redis.call('XADD', stream, '*', unpack(step))
  redis.call('HSET', runs, 'state', 'queued', 'when', moment, 'known', moment, 'stream_id', id)
else
  redis.call('HSET', parked, unpack(step))
  redis.call('ZADD', queue, moment, ARGV[7])
  redis.call('HSET', runs, 'state', 'scheduled', 'when', moment, 'known', moment)
  redis.call('HDEL', runs, 'stream_id')
end
return 1
