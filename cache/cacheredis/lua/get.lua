-- KEYS: records. ARGV[1]: length of a lease in microseconds, 0: none. ARGV[2]:
-- per key the token to grant, the version held (8 bytes each) and refresh (1
-- byte). ARGV[3]: 1 if all of these are tokens alone. Returns the time, then a
-- byte per key, 1 if the lease is the caller's, then the records or headers.
local call, byte, sub, field = redis.call, string.byte, string.sub, struct.unpack
local NONE = '\0\0\0\0\0\0\0\0'
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local lease, asks = tonumber(ARGV[1]), ARGV[2]

-- The same for all leases of this call.
local past, tail, expiry
if lease > 0 then
  past = now + lease
  tail = struct.pack('>I8', past)
  expiry = string.format('%.0f', math.ceil(past / 1000))
end

-- One command for all, if nobody has copies.
local plain = ARGV[3] == '1'
local raws = plain and call('MGET', unpack(KEYS))

local out, grants = { now, '' }, {}
for i = 1, #KEYS do
  local key, from = KEYS[i], 17 * i - 16
  local version, refresh, raw = NONE, false, nil
  if plain then
    raw = raws[i]
  else
    version, refresh = sub(asks, from + 8, from + 15), byte(asks, from + 16) == 1
    -- Who has a copy most likely has the version that is here: the header decides.
    if version == NONE then raw = call('GET', key) else raw = call('GETRANGE', key, 0, 40) end
  end
  local kind, granted, till, fresh, ends = 0, 0, 0, 0, 0
  local found = raw and #raw >= 41 and byte(raw) <= 2
  if found then
    kind, till, fresh, ends = byte(raw), field('>I8I8I8', raw, 18)
    if ends > 0 and now >= ends then kind = 0 end
  end

  if till > now then
    -- The reply of an earlier attempt may have been lost.
    if sub(raw, 10, 17) == sub(asks, from, from + 7) then granted = 1 end
  elseif lease > 0 then
    if kind == 0 then
      granted = 1
      call('SET', key, '\0' .. NONE .. sub(asks, from, from + 7) .. tail .. NONE .. NONE, 'PXAT', expiry)
    elseif kind == 2 or (fresh > 0 and now >= fresh)
        or (refresh and (version == NONE or version == sub(raw, 2, 9))) then
      granted = 1
      call('SETRANGE', key, 9, sub(asks, from, from + 7) .. tail)
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
