-- Is a wait's record what a step has read of it? Stands before the scripts that write down what came of a step.
-- Meanwhile the record may be gone (forgotten, deleted, thrown away), and another wait be there under the name.
local function is_as_read(record, mark)
  local token, by, spec = unpack(redis.call('HMGET', record, 'token', 'by', 'spec'))
  return (token or by or spec) == mark
end
