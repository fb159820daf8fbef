-- Writes down that the POST of a wait is about to be sent, unless that was done before, or the wait is gone.
-- KEYS: the wait's record, the server that the queue was last seen on.
-- ARGV: the name of this attempt, the token's budget, what the wait is about.
-- Answers what is known: 'begin', or 'ended', 'started', 'intent' with the seconds since; 'moved' with the seconds in
-- which nothing is started, for Redis was restarted or is another one: what it lost is written again first.
local record = KEYS[1]
local _, since, now = last_seen(KEYS[2], true)
if now >= since and now < since + RESTORE_SECONDS then
  return { 'moved', tostring(since + RESTORE_SECONDS - now) }
end
if redis.call('HEXISTS', record, 'result') == 1 then
  return { 'ended', '' }
end
local token = redis.call('HGET', record, 'token')
if token then
  return { 'started', token }
end
local intent = redis.call('HGET', record, 'intent')
if intent then
  return { 'intent', tostring(now - tonumber(intent)) }
end
if redis.call('HGET', record, 'spec') ~= ARGV[3] then
  return { 'ended', '' }
end
redis.call('HSET', record, 'intent', now, 'by', ARGV[1], 'budget', ARGV[2])
return { 'begin', tostring(now) }
