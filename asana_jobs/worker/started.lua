-- Writes down the job that was started, if the intent is still its starter's, or again what Redis has lost of it.
-- KEYS: the wait's record. ARGV: the name of the attempt, the job's token ('' if that is not known yet), the budget,
-- what the wait is about, when the intent was written, and whether this is about what may have been lost: '1'.
-- Answers 'kept' if it was known, 'written', 'lost' if nothing was known of the wait any more and now is, or 'late'.
local record = KEYS[1]
local by, token, budget, spec, intent, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local known = redis.call('HMGET', record, 'by', 'token', 'result', 'spec', 'intent', 'again')
if again and (known[3] or known[2] or (token == '' and known[5])) then
  return 'kept'
end
local ours = known[1] == by
if known[3] or known[2] or (not ours and known[5]) then
  -- It was ended as unknown, or begun anew by somebody else: not ours to go on with, but not to be forgotten either.
  if ours and known[2] == token then
    return 'kept'
  end
  redis.call('HSET', record, 'late', token)
  return 'late'
end
redis.call('HSET', record, 'spec', known[4] or spec, 'intent', intent, 'by', by, 'budget', budget)
if token ~= '' then
  redis.call('HSET', record, 'token', token)
end
return known[4] and 'written' or 'lost'
