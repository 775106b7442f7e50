-- KEYS: stamps, bus, records. ARGV: message, soft, clear, pubsub, length of the
-- log, then the tags. Returns the counter and the position.
for i = 3, #KEYS do forget(KEYS[i], ARGV[2] == '1') end
local counter = int(stamp(KEYS[1], 6, #ARGV, ARGV[3] == '1'))
return { counter, publish(KEYS[2], ARGV[4], ARGV[5], counter, ARGV[1]) }
