-- KEYS: records. ARGV[1]: length of a lease in microseconds, 0: none. ARGV[2]:
-- per key who asks (5 bytes), the version held (8) and refresh (1). ARGV[3]: 1 if
-- nobody has a version or refreshes. A token is who asks, and the low 3 bytes of
-- the time: when a command comes twice, the lease of the first time is known as
-- the caller's own, and a command that comes late, after an invalidation, does not
-- bring the token back that was fenced by it. Returns the time, then a
-- byte per key, 1 if the lease is the caller's, then the records or headers.
local call, byte, sub, field = redis.call, string.byte, string.sub, struct.unpack
local NONE = '\0\0\0\0\0\0\0\0'
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local plain = ARGV[3] == '1'
-- Most calls are for one record that is there and fresh.
if plain and #KEYS == 1 then
  local raw = call('GET', KEYS[1])
  if raw and #raw >= 41 and byte(raw) == 1 then
    local fresh, ends = field('>I8I8', raw, 26)
    if (fresh == 0 or now < fresh) and (ends == 0 or now < ends) then return { now, '0', raw } end
  end
end

-- A claim is who asks, and the same for all leases of this call.
local lease, asks = tonumber(ARGV[1]), ARGV[2]
local past = now + lease
local claimed = sub(struct.pack('>I8', now), 6) .. struct.pack('>I8', past)
local before, behind, expiry = '\0' .. NONE, claimed .. NONE .. NONE, string.format('%.0f', math.ceil(past / 1000))

-- One command for all, if nobody has copies.
local raws = plain and #KEYS > 1 and call('MGET', unpack(KEYS))

local out, grants = { now, '' }, {}
for i = 1, #KEYS do
  local key, from, granted = KEYS[i], 14 * i - 13, '0'
  local version, refresh, raw = NONE, false, nil
  if raws then
    raw = raws[i]
  elseif plain then
    raw = call('GET', key)
  else
    version, refresh = sub(asks, from + 5, from + 12), byte(asks, from + 13) == 1
    -- Who has a copy most likely has the version that is here: the header decides.
    if version == NONE then raw = call('GET', key) else raw = call('GETRANGE', key, 0, 40) end
  end
  local kind, till, fresh, ends = 0, 0, 0, 0
  local found = raw and #raw >= 41 and byte(raw) <= 2
  if found then
    kind, till, fresh, ends = byte(raw), field('>I8I8I8', raw, 18)
    if ends > 0 and now >= ends then kind = 0 end
  end

  local own = till > now and sub(raw, 10, 14) == sub(asks, from, from + 4)
  if lease > 0 and (own or till <= now and (kind ~= 1 or fresh > 0 and now >= fresh
      or refresh and (version == NONE or version == sub(raw, 2, 9)))) then
    granted = '1'
    if kind == 0 then
      call('SET', key, before .. sub(asks, from, from + 4) .. behind, 'PXAT', expiry)
    else
      call('SETRANGE', key, 9, sub(asks, from, from + 4) .. claimed)
      if ends > 0 and past > ends then call('PEXPIREAT', key, expiry) end
    end
  end

  if kind == 0 then
    -- A value past its end may still carry a lease.
    raw = found and sub(raw, 1, 41) or ''
  elseif version ~= NONE and version ~= sub(raw, 2, 9) then
    raw = call('GET', key)
  end
  grants[i], out[2 + i] = granted, raw
end
out[2] = table.concat(grants)
return out
