-- KEYS: records. ARGV[1]: length of a lease in microseconds, 0: none.
-- ARGV[1 + i]: refresh (1 byte), version held, token to grant (8 bytes each).
-- Returns the time, then per key the record or its header, and 1 if the lease is
-- the caller's.
local NONE = string.rep('\0', 8)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lease = tonumber(ARGV[1])
local out = { now }

for i, key in ipairs(KEYS) do
  local ask = ARGV[1 + i]
  local version, token = string.sub(ask, 2, 9), string.sub(ask, 10, 17)

  -- Who has a copy most likely has the version that is here: the header decides.
  local raw
  if version == NONE then raw = redis.call('GET', key) else raw = redis.call('GETRANGE', key, 0, 40) end
  local found = raw and #raw >= 41 and string.byte(raw) <= 2
  local kind, granted, held, fresh, ends = 0, 0, false, 0, 0
  if found then
    kind, fresh, ends = string.byte(raw), struct.unpack('>I8', raw, 26), struct.unpack('>I8', raw, 34)
    if ends > 0 and now >= ends then kind = 0 end
    held = struct.unpack('>I8', raw, 18) > now
    -- The reply of an earlier attempt may have been lost.
    if held and string.sub(raw, 10, 17) == token then granted = 1 end
  end

  if lease > 0 and not held then
    local past = now + lease
    local claim = token .. struct.pack('>I8', past)
    if kind == 0 then
      raw, granted = '\0' .. NONE .. claim .. NONE .. NONE, 1
      redis.call('SET', key, raw, 'PXAT', string.format('%.0f', math.ceil(past / 1000)))
    elseif kind == 2 or (fresh > 0 and now >= fresh)
        or (string.byte(ask) == 1 and (version == NONE or version == string.sub(raw, 2, 9))) then
      granted = 1
      redis.call('SETRANGE', key, 9, claim)
      if ends > 0 and past > ends then
        redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(past / 1000)))
      end
    end
  end

  if kind == 0 then
    -- A value past its end may still carry a lease.
    raw = found and string.sub(raw, 1, 41) or ''
  elseif version ~= NONE and version ~= string.sub(raw, 2, 9) then
    raw = redis.call('GET', key)
  end
  out[2 * i], out[2 * i + 1] = raw, granted
end
return out
