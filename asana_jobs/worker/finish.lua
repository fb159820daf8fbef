-- Writes down how a wait ended and hands the result to the readers, once.
-- KEYS: the wait's record, the stream of results, the waits to be started, those to be watched, those that ended
-- without a succeeded job, how many ended how.
-- ARGV: its name, the result, how it ended in a word, seconds to keep it, and to cancel: '1'.
-- Answers whether it was not done before; 'busy' for what is to be cancelled and is being started at this moment.
local record, results, starting, watching, failed, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local name, result, outcome, lifetime, cancel = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
if redis.call('HEXISTS', record, 'result') == 1 then
  return 0
end
if cancel then
  if redis.call('EXISTS', record) == 0 then
    return 0
  end
  if redis.call('HEXISTS', record, 'intent') == 1 and redis.call('HEXISTS', record, 'token') == 0 then
    return 'busy'
  end
end
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('HSET', record, 'result', result)
redis.call('HDEL', record, 'token', 'handled', 'failures', 'failure', 'only')
redis.call('EXPIRE', record, lifetime)
redis.call('ZREM', starting, name)
redis.call('ZREM', watching, name)
redis.call('HINCRBY', counts, outcome, 1)
redis.call('ZREMRANGEBYSCORE', failed, '-inf', now - lifetime)
if outcome ~= 'succeeded' then
  redis.call('ZADD', failed, now, name)
end
local oldest = string.format('%.0f-0', (now - lifetime) * 1000)
redis.call('XADD', results, 'MINID', '~', oldest, '*', 'result', result)
return 1
