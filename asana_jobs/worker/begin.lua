-- Writes down that the POST of a wait is about to be sent, unless that was done before.
-- KEYS: the wait's record. ARGV: who is at work, and with the token of which budget.
-- Answers what is known: 'begin', or 'ended', 'started', 'intent' with the seconds since and whose it is.
local record = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1])
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
redis.call('HSET', record, 'intent', now, 'by', ARGV[1], 'budget', ARGV[2])
return { 'begin', '' }
