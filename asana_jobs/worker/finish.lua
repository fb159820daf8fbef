-- Writes down how a wait ended and hands the result to the readers, once.
-- KEYS: the wait's record, the stream of results, the waits to be started, those to be watched, those that ended
-- without a succeeded job, how many ended how, who calls the handler of its result.
-- ARGV: its name, the result, how it ended in a word, seconds to keep it, the record's mark, see `as_read.lua`, or '' to
-- cancel whatever is there, without a handler: '1', the worker that is to call the handler if there is one, and the
-- seconds for which it alone may.
-- Answers 'done', or 'claimed' if that worker may; 'known' if it was done before, or is not there; 'busy' for what is to
-- be cancelled and is being started at this moment.
local record, results, starting, watching, failed, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local name, result, outcome, lifetime, mark = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local handled, worker, claim_seconds = ARGV[6] == '1', ARGV[7], ARGV[8]
if redis.call('HEXISTS', record, 'result') == 1 or redis.call('HEXISTS', record, 'spec') == 0 then
  return 'known'
end
if mark ~= '' then
  if not is_as_read(record, mark) then
    return 'known'
  end
elseif redis.call('HEXISTS', record, 'intent') == 1 and redis.call('HEXISTS', record, 'token') == 0 then
  return 'busy'
end
local time = redis.call('TIME')
local now = tonumber(time[1])
redis.call('HSET', record, 'result', result)
redis.call('HDEL', record, 'token', 'handled', 'failures', 'failure', 'only')
if handled then
  redis.call('HSET', record, 'handled', 1)
end
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
if worker ~= '' and redis.call('SET', KEYS[7], worker, 'NX', 'EX', claim_seconds) then
  return 'claimed'
end
return 'done'
