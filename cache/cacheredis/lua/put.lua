-- KEYS: records. ARGV[1]: per key the version, token, life and fresh life (8
-- bytes each, lives in microseconds, 0: without end) and the operation (1 byte:
-- 0 store, 1 extend or release). ARGV[2]: 1 if there was nothing beside the
-- leases when they were granted. Then the data of each. Returns a byte per key, 1
-- if the fill took effect.
local call, byte, sub, field, pack = redis.call, string.byte, string.sub, struct.unpack, struct.pack
local NONE = '\0\0\0\0\0\0\0\0'
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local specs = ARGV[1]

-- One command for all, if what it reads is short.
local heads = ARGV[2] == '1' and #KEYS > 1 and call('MGET', unpack(KEYS))

-- Fills that come together mostly live as long.
local last, life, expiry, stamps
local out = {}

for i = 1, #KEYS do
  local key, from, stored = KEYS[i], 33 * i - 32, '0'
  local token, lives, fills = sub(specs, from + 8, from + 15), sub(specs, from + 16, from + 31), byte(specs, from + 32) == 0
  if lives ~= last then
    local fresh
    last, life, fresh = lives, field('>I8I8', lives)
    expiry = string.format('%.0f', math.ceil((now + life) / 1000))
    stamps = NONE .. NONE .. pack('>I8I8', fresh > 0 and now + fresh or 0, life > 0 and now + life or 0)
  end

  local head, held = '', false
  if token ~= NONE then
    head = heads and (heads[i] or '') or not heads and call('GETRANGE', key, 0, 40)
    held = #head >= 41 and sub(head, 10, 17) == token and field('>I8', head, 18) > now
  end

  if fills and (held or token == NONE) then
    local record = '\1' .. sub(specs, from, from + 7) .. stamps .. ARGV[2 + i]
    if life > 0 then call('SET', key, record, 'PXAT', expiry) else call('SET', key, record) end
    stored = '1'
  elseif #head >= 41 then
    local kind, ends = byte(head), field('>I8', head, 34)
    if ends > 0 and now >= ends then kind = 0 end
    if fills then
      -- By an earlier attempt, whose reply was lost?
      if kind == 1 and sub(head, 2, 9) == sub(specs, from, from + 7) then stored = '1' end
    elseif held and life > 0 then
      call('SETRANGE', key, 17, pack('>I8', now + life))
      if kind == 0 or ends > 0 then
        call('PEXPIREAT', key, string.format('%.0f', math.ceil(math.max(now + life, kind ~= 0 and ends or 0) / 1000)))
      end
      stored = '1'
    elseif held then
      if kind == 0 then
        call('UNLINK', key)
      else
        call('SETRANGE', key, 9, NONE .. NONE)
        if ends > 0 then call('PEXPIREAT', key, string.format('%.0f', math.ceil(ends / 1000))) end
      end
      stored = '1'
    end
  end
  out[i] = stored
end
return table.concat(out)
