-- Puts the steps that have become due where workers take them from, on Redis' own clock, so many of them at once
-- that Redis is not held up. It is docket's way to do that but for these two.
-- KEYS: docket's queue of what is due later, its stream, when this was done last.
-- ARGV: docket's prefix, how many at most. Answers how many they were.
local queue, stream, seen = KEYS[1], KEYS[2], KEYS[3]
local prefix, most = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

-- A clock that was put back takes what waits for it along.
local before = tonumber(redis.call('GET', seen) or now)
if before - now > 2 then
  local all = redis.call('ZRANGE', queue, 0, -1, 'WITHSCORES')
  for place = 1, #all, 2 do
    redis.call('ZADD', queue, tonumber(all[place + 1]) - (before - now), all[place])
  end
end
if math.abs(now - before) > 1 or now == before then
  redis.call('SET', seen, string.format('%.6f', now))
end

local keys = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, most)
for _, key in ipairs(keys) do
  local parked = prefix .. ':' .. key
  local step = redis.call('HGETALL', parked)
  if #step > 0 then
    redis.call('XADD', stream, '*', unpack(step))
    redis.call('DEL', parked)
    redis.call('HSET', prefix .. ':runs:' .. key, 'state', 'queued')
  end
  redis.call('ZREM', queue, key)
end
return #keys
