-- Ends a step that is not made again, and forgets it unless somebody has scheduled another one meanwhile.
-- KEYS: docket's stream, what docket knows of the step. ARGV: docket's group of workers, the message, its generation.
local stream, runs = KEYS[1], KEYS[2]
local stored = tonumber(redis.call('HGET', runs, 'generation') or 0)
redis.call('XACK', stream, ARGV[1], ARGV[2])
redis.call('XDEL', stream, ARGV[2])
if stored <= tonumber(ARGV[3]) then
  redis.call('DEL', runs)
end
return 1
