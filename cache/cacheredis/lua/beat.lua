-- KEYS: log. ARGV: position, most messages, length of the log. Returns the head,
-- its mark and the messages behind the position, all of one moment.
--
-- XTRIM has nothing to do, but a server that is no primary refuses it, as does
-- one that was told not to write without its replicas: no sign of life, then.
local last, mark = head(KEYS[1])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[3])
return { int(last), mark, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1] .. '-18446744073709551615', '+', 'COUNT', ARGV[2]) }
