package messagingredis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// renew shows every third of MinIdle that this member lives. An entry that another
// member has taken meanwhile is left to it, and forgotten here unless it runs: only
// what is still ours is renewed, which takes a script, since XCLAIM would take it
// back.
func (m *member) renew(ctx context.Context) {
	tick := time.NewTicker(m.cfg.MinIdle / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.renewAll(ctx)
		}
	}
}

var renewScript = redis.NewScript(`
local lost = {}
for i = 3, #ARGV do
	local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
	if p[1] and p[1][2] == ARGV[2] then
		redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
	else
		lost[#lost + 1] = ARGV[i]
	end
end
return lost`)

func (m *member) renewAll(ctx context.Context) {
	for topic, ids := range m.holding() {
		args := append([]any{m.group, m.name}, ids...)
		ctx, cancel := context.WithTimeout(ctx, m.cfg.MinIdle/3)
		// What could not be renewed this time is, the next.
		lost, _ := renewScript.Run(ctx, m.client, []string{m.stream(topic)}, args...).StringSlice()
		cancel()
		m.drop(topic, lost)
	}
}

// drop forgets what others have taken.
func (m *member) drop(topic string, lost []string) {
	if len(lost) == 0 {
		return
	}
	m.mu.Lock()
	for _, id := range lost {
		if e := m.held[topic][id]; e != nil { // else it was acknowledged meanwhile
			e.lost.Store(true)
			delete(m.held[topic], id)
		}
	}
	m.mu.Unlock()
	m.queue.Drop(func(e *entry) bool { return e.lost.Load() })
}

func (m *member) holding() map[string][]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string][]any, len(m.held))
	for topic, entries := range m.held {
		for id := range entries {
			all[topic] = append(all[topic], id)
		}
	}
	return all
}

// setCount writes how often an entry was delivered and, from idle 0 on, how long
// ago. It touches only what is still this member's.
func (m *member) setCount(ctx context.Context, e *entry, attempts int, idle time.Duration) {
	args := []any{m.group, m.name, e.id, attempts, int64(-1)}
	if idle >= 0 {
		args[4] = idle.Milliseconds()
	}
	_ = countScript.Run(ctx, m.client, []string{m.stream(e.topic)}, args...).Err()
}

var countScript = redis.NewScript(`
local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if not p[1] or p[1][2] ~= ARGV[2] then
	return 0
end
local idle = '0'
if ARGV[5] ~= '-1' then
	idle = ARGV[5]
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', idle, 'RETRYCOUNT', ARGV[4], 'JUSTID')
return 1`)

// keep trims the streams now and then, and removes consumers that are gone.
func (m *member) keep(ctx context.Context, topics []string) {
	tick := time.NewTicker(m.cfg.MinIdle)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, topic := range topics {
				_ = tidyScript.Run(ctx, m.client, []string{m.stream(topic)}, m.group, gone.Milliseconds()).Err()
			}
		}
	}
}

// gone is how long a consumer that holds nothing may be silent; an idle member
// reads all the time.
const gone = time.Hour

// tidyScript trims what every group has acknowledged, in one go, so that nothing
// can be delivered between the look and the cut. The lowest entry that some group
// still needs is its oldest pending one, else the one behind its last delivered.
var tidyScript = redis.NewScript(`
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
local function less(a, b)
	local am, as = string.match(a, '(%d+)-(%d+)')
	local bm, bs = string.match(b, '(%d+)-(%d+)')
	if #am ~= #bm then return #am < #bm end
	if am ~= bm then return am < bm end
	if #as ~= #bs then return #as < #bs end
	return as < bs
end
local keep = nil
for _, g in ipairs(groups) do
	local f = {}
	for i = 1, #g, 2 do f[g[i]] = g[i + 1] end
	local first = f['last-delivered-id']
	local p = redis.call('XPENDING', KEYS[1], f['name'])
	if p[1] > 0 and less(p[2], first) then first = p[2] end
	if not keep or less(first, keep) then keep = first end
end
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
	local f = {}
	for i = 1, #c, 2 do f[c[i]] = c[i + 1] end
	if f['pending'] == 0 and f['idle'] > tonumber(ARGV[2]) then
		redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], f['name'])
	end
end
if keep then
	return redis.call('XTRIM', KEYS[1], 'MINID', keep)
end
return 0`)

// leave hands what was not settled to the other members at once, by making it look
// abandoned, and removes this consumer where it holds nothing.
func (m *member) leave(ctx context.Context, topics []string) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.MinIdle)
	defer cancel()
	for _, left := range m.queue.Close() {
		m.setCount(ctx, left.Value, left.Attempts, 2*m.cfg.MinIdle)
	}
	for _, topic := range topics {
		_ = leaveScript.Run(ctx, m.client, []string{m.stream(topic)}, m.group, m.name).Err()
	}
}

// leaveScript: with pending entries DELCONSUMER would lose them.
var leaveScript = redis.NewScript(`
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
	local f = {}
	for i = 1, #c, 2 do f[c[i]] = c[i + 1] end
	if f['name'] == ARGV[2] and f['pending'] == 0 then
		return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
	end
end
return 0`)
