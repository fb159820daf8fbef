-- Writes a field of a wait's record. KEYS: the record. ARGV: the field, its value, the mark of the record as it was read.
if is_as_read(KEYS[1], ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
