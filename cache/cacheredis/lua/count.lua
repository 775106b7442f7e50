-- KEYS: counter of the channel. Returns it. Writing it back is the sign that the
-- server is a primary.
local seq = redis.call('GET', KEYS[1]) or int(now)
redis.call('SET', KEYS[1], seq)
return seq
