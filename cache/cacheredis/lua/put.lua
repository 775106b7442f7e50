-- KEYS: records. ARGV, two per key: operation (1 byte: 0 store, 1 extend or
-- release), version, token, life, fresh life (8 bytes each, in microseconds, 0:
-- without end); then the data. Returns 1 per fill that took effect, else 0.
local NONE = string.rep('\0', 8)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local out = {}

local function millis(at) return string.format('%.0f', math.ceil(at / 1000)) end
local function later(life) return struct.pack('>I8', life > 0 and now + life or 0) end

for i, key in ipairs(KEYS) do
  local spec, data = ARGV[2 * i - 1], ARGV[2 * i]
  local version, token = string.sub(spec, 2, 9), string.sub(spec, 10, 17)
  local life, fresh = struct.unpack('>I8', spec, 18), struct.unpack('>I8', spec, 26)

  local head, held, kind, ends = '', false, 0, 0
  if token ~= NONE then
    head = redis.call('GETRANGE', key, 0, 40)
    if #head == 41 then
      ends = struct.unpack('>I8', head, 34)
      if ends == 0 or now < ends then kind = string.byte(head) end
      held = string.sub(head, 10, 17) == token and struct.unpack('>I8', head, 18) > now
    end
  end

  local stored = 0
  if string.byte(spec) == 0 then
    if token == NONE or held then
      local record = '\1' .. version .. NONE .. NONE .. later(fresh) .. later(life) .. data
      if life > 0 then
        redis.call('SET', key, record, 'PXAT', millis(now + life))
      else
        redis.call('SET', key, record)
      end
      stored = 1
    elseif kind == 1 and string.sub(head, 2, 9) == version then
      stored = 1 -- by an earlier attempt, whose reply was lost
    end
  elseif held and life > 0 then
    redis.call('SETRANGE', key, 17, struct.pack('>I8', now + life))
    if kind == 0 or ends > 0 then
      redis.call('PEXPIREAT', key, millis(math.max(now + life, kind ~= 0 and ends or 0)))
    end
    stored = 1
  elseif held then
    if kind == 0 then
      redis.call('UNLINK', key)
    else
      redis.call('SETRANGE', key, 9, NONE .. NONE)
      if ends > 0 then redis.call('PEXPIREAT', key, millis(ends)) end
    end
    stored = 1
  end
  out[i] = stored
end
return out
