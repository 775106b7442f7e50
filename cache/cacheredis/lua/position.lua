-- KEYS: log. ARGV: position wanted, 0: the head, its mark, or '' if that is not
-- known, and the length of the log. Returns where to start, and the mark of that: the position, or the
-- head if the messages behind the position are not all there.
local last, mark = head(KEYS[1])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[3]) -- as in beat.lua
local after, known = tonumber(ARGV[1]), ARGV[2]
local at = after == last and mark or nil
if not at and after < last then
  -- The message at the position, or if that is gone, the one right behind it.
  local found = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1)[1]
  local seq, its = string.match(found and found[1] or '', '(%d+)%-(%d+)')
  seq = tonumber(seq)
  if seq == after then at = its elseif seq == after + 1 then at = '' end
end
-- A server that lost its newest messages gives their numbers out again; the mark
-- tells its message from the one that was delivered.
if at and (known == '' or known == at) then return { int(after), at } end
return { int(last), mark }
