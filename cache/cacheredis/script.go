package cacheredis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

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

// script is a Lua program and the name that Redis has for it.
type script struct{ source, sha string }

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

// newCall makes a call with so many keys, which are added by key, and then so
// many arguments, by arg.
func newCall(s *script, keys, args int) *call {
	return &call{script: s, args: append(make([]any, 0, keysAt+keys+args), "evalsha", s.sha, keys)}
}

func (c *call) add(args ...any) { c.args = append(c.args, args...) }

// addKeys adds n keys with a prefix. They share one piece of memory.
func (c *call) addKeys(prefix string, n int, key func(i int) string) {
	size := 0
	for i := range n {
		size += len(prefix) + len(key(i))
	}
	var all strings.Builder
	all.Grow(size)
	for i := range n {
		from := all.Len()
		all.WriteString(prefix)
		all.WriteString(key(i))
		c.add(all.String()[from:])
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

// flags is one element of a reply, a byte for each of n keys.
func flags(v any, n int) (string, error) {
	text, _ := v.(string)
	if len(text) != n {
		return "", fmt.Errorf("%w: %d flags instead of %d", errReply, len(text), n)
	}
	return text, nil
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
