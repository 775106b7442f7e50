-- KEYS: records. ARGV[1]: length of a lease in microseconds, 0: none. ARGV[2]: who
-- asks, 5 bytes. ARGV[3]: per key the version held (8) and refresh (1), or '' if
-- nobody has a version or refreshes. A token is who asks, and the low 3 bytes of
-- the time: when a command comes twice, the lease of the first time is known as
-- the caller's own, and a command that comes late, after an invalidation, does not
-- bring the token back that was fenced by it.
--
-- Returns the records or headers, nil where there is none, the time, and which of
-- the records have a lease of the caller beside them. With a length each nil is a
-- lease as well.
local call, byte, sub, field = redis.call, string.byte, string.sub, struct.unpack
local NONE = '\0\0\0\0\0\0\0\0'
local keys, lease, who, asks = KEYS, tonumber(ARGV[1]), ARGV[2], ARGV[3]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local plain = asks == ''
local out = {}
if plain and #keys == 1 then
  -- Most calls are for one record that is there and fresh.
  local raw = call('GET', keys[1])
  if raw and #raw >= 41 and byte(raw) == 1 then
    local fresh, ends = field('>I8I8', raw, 18)
    if (fresh == 0 or now < fresh) and (ends == 0 or now < ends) then return { raw, now, out } end
  end
  out[1] = raw
elseif plain then
  -- One command for all: each costs more than what is below.
  out = call('MGET', unpack(keys))
end
local granted = {}
local claim, bare, expiry -- the same for all leases of this call

for i = 1, #keys do
  local key, raw, version, refresh = keys[i], out[i], NONE, false
  if not plain then
    version, refresh = sub(asks, 9 * i - 8, 9 * i - 1), byte(asks, 9 * i) == 1
    -- Who has a copy most likely has the version that is here: the header decides.
    if version == NONE then raw = call('GET', key) else raw = call('GETRANGE', key, 0, 40) end
  end

  local kind, till, fresh, ends = 0, 0, 0, 0
  if raw and #raw >= 41 and byte(raw) <= 2 then
    kind, till, fresh, ends = byte(raw), field('>I8I8I8', raw, 10)
    if ends > 0 and now >= ends then kind = 0 end
  end
  local due = kind ~= 1 or fresh > 0 and now >= fresh or refresh and (version == NONE or version == sub(raw, 34, 41))
  local grants = lease > 0 and (till <= now and due or till > now and sub(raw, 2, 6) == who)

  if grants then
    if not claim then
      claim = who .. sub(struct.pack('>I8', now), 6) .. struct.pack('>I8', now + lease)
      bare, expiry = '\0' .. claim .. NONE .. NONE .. NONE, string.format('%.0f', math.ceil((now + lease) / 1000))
    end
    if kind == 0 then
      call('SET', key, bare, 'PXAT', expiry)
    else
      call('SETRANGE', key, 1, claim)
      if ends > 0 and now + lease > ends then call('PEXPIREAT', key, expiry) end
      granted[#granted + 1] = i
    end
  end

  if kind == 0 then
    -- A value past its end may still carry a lease of somebody else.
    raw = not grants and till > now and sub(raw, 1, 41)
  elseif version ~= NONE and version ~= sub(raw, 34, 41) then
    raw = call('GET', key)
  end
  out[i] = raw
end
out[#keys + 1], out[#keys + 2] = now, granted
return out
