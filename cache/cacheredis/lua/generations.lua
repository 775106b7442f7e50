-- KEYS: stamps. ARGV: tags. Returns the counter, the stamp of the last Clear,
-- then those of the tags.
local counter, cleared = generation(KEYS[1])
local out = { int(counter), int(cleared) }
for i, tag in ipairs(ARGV) do
  out[2 + i] = int(redis.call('ZSCORE', KEYS[1], 't' .. tag) or 0)
end
return out
