-- Writes down how a wait ended and hands the result to the readers, once.
-- KEYS: the wait's record, the stream of results. ARGV: the result, seconds to keep the record.
if redis.call('HEXISTS', KEYS[1], 'result') == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'result', ARGV[1])
redis.call('HDEL', KEYS[1], 'spec', 'token', 'handled')
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'result', ARGV[1])
return 1
