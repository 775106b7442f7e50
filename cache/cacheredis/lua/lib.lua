local NONE = string.rep('\0', 8)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function int(n) return string.format('%.0f', n) end

-- forget ends value and lease; a soft one leaves a value that is expired.
local function forget(key, soft)
  local head = soft and redis.call('GETRANGE', key, 0, 40) or ''
  local ends = #head == 41 and struct.unpack('>I8', head, 26) or 0
  if #head < 41 or string.byte(head) == 0 or (ends > 0 and now >= ends) then
    redis.call('UNLINK', key)
    return
  end
  redis.call('SETRANGE', key, 0, '\2' .. NONE .. NONE)
  if ends > 0 then redis.call('PEXPIREAT', key, int(math.ceil(ends / 1000))) end
end

-- generation returns the counter and the stamp of the last Clear. Lost stamps
-- are a Clear: nobody knows which tags they were.
local function generation(tags)
  local last = redis.call('ZSCORE', tags, 'now')
  if last then return tonumber(last), tonumber(redis.call('ZSCORE', tags, 'clear')) end
  redis.call('ZADD', tags, int(now), 'now', int(now), 'clear')
  return now, now
end

-- stamp raises the counter and gives its value to everything invalidated.
local EIGHT_DAYS = 8 * 24 * 3600 * 1000000
local function stamp(tags, first, last, clear)
  local counter, cleared = generation(tags)
  if first > last and not clear then return counter end
  counter = math.max(counter + 1, now)
  if clear then cleared = counter end
  redis.call('ZREMRANGEBYSCORE', tags, '-inf', int(counter - EIGHT_DAYS))
  redis.call('ZADD', tags, int(counter), 'now', int(cleared), 'clear')
  for i = first, last do
    redis.call('ZADD', tags, 'GT', int(counter), 't' .. ARGV[i])
  end
  return counter
end

-- head returns the position of the last message and its stamp. The log of a
-- server that has none, or lost it, begins at the time, above every position
-- that was ever given out.
local function head(bus)
  local info = redis.pcall('XINFO', 'STREAM', bus)
  if info.err then
    redis.call('XADD', bus, int(now) .. '-' .. int(now), 'm', '')
    redis.call('XTRIM', bus, 'MAXLEN', 0)
    return now, int(now)
  end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local seq, mark = string.match(info[i + 1], '(%d+)%-(%d+)')
      return tonumber(seq), mark
    end
  end
end

-- publish appends to the log, or sends to those who listen.
local function publish(bus, pubsub, length, counter, message)
  local seq
  if pubsub == '1' then
    seq = tonumber(redis.call('GET', bus) or now) + 1
    redis.call('SET', bus, int(seq))
    redis.call('PUBLISH', bus, int(seq) .. ' ' .. counter .. ' ' .. message)
  else
    seq = head(bus) + 1
    redis.call('XADD', bus, 'MAXLEN', '~', length, int(seq) .. '-' .. int(now), 'g', counter, 'm', message)
  end
  return int(seq)
end
