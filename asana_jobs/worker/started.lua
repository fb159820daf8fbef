-- Writes down the job that was started, if the intent is still its starter's, or again what Redis has lost of it.
-- KEYS: the wait's record, the waits to be started, those to be watched, when the wait was forgotten.
-- ARGV: its name, that of the attempt, the job's token ('' if that is not known yet), the budget, what the wait is about,
-- when the intent was written, and whether this is about what may have been lost: '1'.
-- Answers 'kept' if it was known, 'written', 'lost' if nothing was known of the wait any more and now is, 'late', or
-- 'ended' if that was all that may have been lost.
local record, starting, watching = KEYS[1], KEYS[2], KEYS[3]
local name, by, token, budget, spec, intent, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1'
local known = redis.call('HMGET', record, 'by', 'token', 'result', 'spec', 'intent')
local gone = (known[4] or spec) ~= spec or tonumber(redis.call('GET', KEYS[4]) or 0) >= tonumber(intent)
if again and (known[3] or gone) then
  return 'ended'
end
if again and (known[2] or (token == '' and known[5])) then
  return 'kept'
end
local ours = known[1] == by
if known[3] or known[2] or gone or (not ours and known[5]) then
  -- It was ended as unknown, or begun anew by somebody else: not ours to go on with, but not to be forgotten either.
  if ours and known[2] == token then
    return 'kept'
  end
  if not gone then
    redis.call('HSET', record, 'late', token)
  end
  return 'late'
end
redis.call('HSET', record, 'spec', known[4] or spec, 'intent', intent, 'by', by, 'budget', budget)
if token ~= '' then
  redis.call('HSET', record, 'token', token)
  redis.call('ZREM', starting, name)
end
redis.call('ZADD', token == '' and starting or watching, 'NX', redis.call('TIME')[1], name)
return known[4] and 'written' or 'lost'
