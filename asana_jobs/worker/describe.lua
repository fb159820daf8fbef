-- Writes down what waits are about, except for those whose names are known already.
-- KEYS: the waits to be started, those to be watched, and the record of each wait.
-- ARGV: the version of the records, whether they start their jobs ('1'), and of each wait its name and what it is about.
-- Answers for each 0 if it is new, or 'known' or 'ended' and what it is about.
local line = ARGV[2] == '1' and KEYS[1] or KEYS[2]
local now = redis.call('TIME')[1]
local found = {}
for place = 3, #KEYS do
  local record, name, spec = KEYS[place], ARGV[2 * place - 3], ARGV[2 * place - 2]
  local known = redis.call('HGET', record, 'spec')
  if redis.call('HEXISTS', record, 'result') == 1 then
    found[#found + 1] = { 'ended', known or '' }
  elseif known then
    found[#found + 1] = { 'known', known }
  else
    redis.call('DEL', record) -- older versions left parts of what was forgotten
    redis.call('HSET', record, 'spec', spec, 'version', ARGV[1])
    redis.call('ZADD', line, now, name)
    found[#found + 1] = 0
  end
end
return found
