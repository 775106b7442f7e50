package cacheredis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-go/keelson/cache"
	"github.com/redis/go-redis/v9"
)

// The scripts. What is on the path of every read has no functions beside it,
// since Lua makes them anew at each call.
var (
	//go:embed lua/get.lua
	getSource string
	//go:embed lua/put.lua
	putSource string
	//go:embed lua/lib.lua
	libSource string
	//go:embed lua/invalidate.lua
	invalidateSource string
	//go:embed lua/forget.lua
	forgetSource string
	//go:embed lua/generations.lua
	generationsSource string
	//go:embed lua/publish.lua
	publishSource string
	//go:embed lua/position.lua
	positionSource string
	//go:embed lua/beat.lua
	beatSource string
	//go:embed lua/count.lua
	countSource string

	getScript         = newScript(getSource)
	putScript         = newScript(putSource)
	invalidateScript  = newScript(libSource + invalidateSource)
	forgetScript      = newScript(libSource + forgetSource)
	generationsScript = newScript(libSource + generationsSource)
	publishScript     = newScript(libSource + publishSource)
	positionScript    = newScript(libSource + positionSource)
	beatScript        = newScript(libSource + beatSource)
	countScript       = newScript(libSource + countSource)
)

// script is a Lua program and the name that Redis has for it, as arguments.
type script struct{ source, sha any }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

// call is one run of a script, and its reply.
type call struct {
	script *script
	args   []any // of EVALSHA: its name, the script's, how many keys, keys, arguments
	reply  *redis.Cmd
}

// keysAt is where the keys are in call.args.
const keysAt = 3

// newCall makes a call with so many keys, which are added first, and then so many
// arguments.
func newCall(s *script, keys, args int) *call {
	return &call{script: s, args: append(make([]any, 0, keysAt+keys+args), "evalsha", s.sha, keys)}
}

func (c *call) add(args ...any) { c.args = append(c.args, args...) }

// addTexts adds n arguments of two parts. They share one piece of memory.
func (c *call) addTexts(n int, parts func(i int) (string, string)) {
	size := 0
	for i := range n {
		head, tail := parts(i)
		size += len(head) + len(tail)
	}
	var all strings.Builder
	all.Grow(size)
	for i := range n {
		from := all.Len()
		head, tail := parts(i)
		all.WriteString(head)
		all.WriteString(tail)
		c.add(all.String()[from:])
	}
}

// addFills adds the version and the data of each, or nothing where there is none.
// They share one piece of memory.
func (c *call) addFills(fills []cache.Fill) {
	size := 0
	for _, f := range fills {
		size += versionLen + len(f.Data)
	}
	all := make([]byte, 0, size)
	for _, f := range fills {
		from := len(all)
		if f.Data != nil {
			all = binary.BigEndian.AppendUint64(all, f.Version)
			all = append(all, f.Data...)
		}
		c.add(all[from:])
	}
}

// firstKey is what decides on the node.
func (c *call) firstKey() string {
	key, _ := c.args[keysAt].(string)
	return key
}

// prepare makes the command, which a server that does not know the script needs
// whole.
func (c *call) prepare(ctx context.Context, whole bool) *redis.Cmd {
	args := c.args
	if whole {
		args = slices.Clone(args)
		args[0], args[1] = "eval", c.script.source
	}
	c.reply = redis.NewCmd(ctx, args...)
	c.reply.SetFirstKeyPos(keysAt)
	return c.reply
}

// slice is the reply as an array of n elements.
func (c *call) slice(n int) ([]any, error) {
	reply, err := c.reply.Slice()
	if err != nil {
		return nil, err
	}
	if len(reply) != n {
		return nil, fmt.Errorf("%w: %d elements instead of %d", errReply, len(reply), n)
	}
	return reply, nil
}

// indexes calls f for each index that a script returns, which count from 1 there.
func indexes(v any, n int, f func(i int)) error {
	list, ok := v.([]any)
	for _, v := range list {
		i, _ := v.(int64)
		if i < 1 || i > int64(n) {
			return fmt.Errorf("%w: index %d of %d", errReply, i, n)
		}
		f(int(i) - 1)
	}
	if !ok {
		return fmt.Errorf("%w: %v is no list of indexes", errReply, v)
	}
	return nil
}

// numbers is the reply as n numbers. They come as text: what Lua returns as a
// number loses its fraction and nothing else, but reads worse.
func (c *call) numbers(n int) ([]uint64, error) {
	reply, err := c.slice(n)
	if err != nil {
		return nil, err
	}
	numbers := make([]uint64, n)
	for i, v := range reply {
		if numbers[i], err = parseNumber(v); err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

func parseNumber(v any) (uint64, error) {
	text, _ := v.(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no number", errReply, text)
	}
	return n, nil
}
