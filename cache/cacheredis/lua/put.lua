-- KEYS: records. ARGV[1]: token, life and fresh life (8 bytes each, lives in
-- microseconds, 0: without end), of each key or once for all. ARGV[2]: 1 if there
-- was nothing beside the leases when they were granted. Then per key the version
-- and the data, or '' to extend the lease by the life, or to release it. Returns
-- which fills took no effect.
local call, byte, sub, field, pack = redis.call, string.byte, string.sub, struct.unpack, struct.pack
local NONE = '\0\0\0\0\0\0\0\0'
local keys, specs = KEYS, ARGV[1]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

-- One command for all, if what it reads is short.
local heads = ARGV[2] == '1' and #keys > 1 and call('MGET', unpack(keys))

-- Fills that come together mostly were granted together, and live as long. Then
-- the headers of their leases are equal, too.
local spec, token, life, expiry, stamps
local seen, held
local refused = {}

for i = 1, #keys do
  local key, fill = keys[i], ARGV[2 + i]
  if i == 1 or #specs > 24 then
    local own = sub(specs, 24 * i - 23, 24 * i)
    if own ~= spec then
      local fresh
      spec, token, life, fresh = own, sub(own, 1, 8), field('>I8I8', own, 9)
      expiry = string.format('%.0f', math.ceil((now + life) / 1000))
      stamps = '\1' .. NONE .. NONE .. pack('>I8I8', fresh > 0 and now + fresh or 0, life > 0 and now + life or 0)
      seen, held = nil, false
    end
  end

  local head = ''
  if token ~= NONE then
    head = heads and (heads[i] or '') or not heads and call('GETRANGE', key, 0, 40)
    if head ~= seen then
      seen, held = head, #head >= 41 and sub(head, 2, 9) == token and field('>I8', head, 10) > now
    end
  end

  local done = held
  if fill ~= '' and (held or token == NONE) then
    if life > 0 then call('SET', key, stamps .. fill, 'PXAT', expiry) else call('SET', key, stamps .. fill) end
    done = true
  elseif #head >= 41 then
    local kind, ends = byte(head), field('>I8', head, 26)
    if ends > 0 and now >= ends then kind = 0 end
    if fill ~= '' then
      -- By an earlier attempt, whose reply was lost?
      done = kind == 1 and sub(head, 34, 41) == sub(fill, 1, 8)
    elseif held and life > 0 then
      call('SETRANGE', key, 9, pack('>I8', now + life))
      if kind == 0 or ends > 0 then
        call('PEXPIREAT', key, string.format('%.0f', math.ceil(math.max(now + life, kind ~= 0 and ends or 0) / 1000)))
      end
    elseif held and kind == 0 then
      call('UNLINK', key)
    elseif held then
      call('SETRANGE', key, 1, NONE .. NONE)
      if ends > 0 then call('PEXPIREAT', key, string.format('%.0f', math.ceil(ends / 1000))) end
    end
  end
  if not done then refused[#refused + 1] = i end
end
return refused
