-- KEYS: records. ARGV[1]: per key the version, token, life and fresh life (8
-- bytes each, lives in microseconds, 0: without end) and the operation (1 byte:
-- 0 store, 1 extend or release). Then the data of each. Returns a byte per key,
-- 1 if the fill took effect.
local call, byte, sub, field, pack = redis.call, string.byte, string.sub, struct.unpack, struct.pack
local NONE = '\0\0\0\0\0\0\0\0'
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local specs = ARGV[1]

-- Fills that come together mostly live as long.
local last, expiry, stamps = nil, nil, nil
local out = {}

for i = 1, #KEYS do
  local key, from = KEYS[i], 33 * i - 32
  local token, lives = sub(specs, from + 8, from + 15), sub(specs, from + 16, from + 31)
  local life, fresh = field('>I8I8', lives)
  if lives ~= last then
    last, expiry = lives, string.format('%.0f', math.ceil((now + life) / 1000))
    stamps = pack('>I8I8', fresh > 0 and now + fresh or 0, life > 0 and now + life or 0)
  end

  local head, held, kind, ends = '', false, 0, 0
  if token ~= NONE then
    head = call('GETRANGE', key, 0, 40)
    if #head == 41 then
      local till, _
      till, _, ends = field('>I8I8I8', head, 18)
      if ends == 0 or now < ends then kind = byte(head) end
      held = till > now and sub(head, 10, 17) == token
    end
  end

  local stored = 0
  if byte(specs, from + 32) == 0 then
    local version = sub(specs, from, from + 7)
    if token == NONE or held then
      local record = '\1' .. version .. NONE .. NONE .. stamps .. ARGV[1 + i]
      if life > 0 then call('SET', key, record, 'PXAT', expiry) else call('SET', key, record) end
      stored = 1
    elseif kind == 1 and sub(head, 2, 9) == version then
      stored = 1 -- by an earlier attempt, whose reply was lost
    end
  elseif held and life > 0 then
    call('SETRANGE', key, 17, pack('>I8', now + life))
    if kind == 0 or ends > 0 then
      call('PEXPIREAT', key, string.format('%.0f', math.ceil(math.max(now + life, kind ~= 0 and ends or 0) / 1000)))
    end
    stored = 1
  elseif held then
    if kind == 0 then
      call('UNLINK', key)
    else
      call('SETRANGE', key, 9, NONE .. NONE)
      if ends > 0 then call('PEXPIREAT', key, string.format('%.0f', math.ceil(ends / 1000))) end
    end
    stored = 1
  end
  out[i] = stored
end
return table.concat(out)
