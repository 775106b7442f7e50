package eventsql_test

import (
	"fmt"
	"testing"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/eventsource/eventsql"
	"github.com/keelson-go/keelson/internal/assert"
)

const all = ^uint64(0)

func event(stream, typ string, tags ...string) eventsource.Event {
	return eventsource.Event{Stream: stream, Type: typ, Tags: tags}
}

func keys(e eventsource.Event, conds ...eventsource.Condition) []uint64 {
	return eventsql.Keys(all, []eventsource.Event{e}, conds...)
}

func only(conds ...eventsource.Condition) []uint64 { return eventsql.Keys(all, nil, conds...) }

// clash tells whether two appends wait for each other: a key in common that one
// of them holds exclusive.
func clash(a, b []uint64) bool {
	for _, x := range a {
		for _, y := range b {
			if x|1 == y|1 && (x&1 == 1 || y&1 == 1) {
				return true
			}
		}
	}
	return false
}

// Old and new versions of a program run side by side: the keys are for ever.
func TestKeysAreFrozen(t *testing.T) {
	got := keys(eventsource.Event{ID: "id-1", Stream: "account-7", Type: "account.opened", Tags: []string{"customer:42"}})
	assert.Equal(t, "[0 38cdc1e1fbcc 63b0a69b19fd 91e7c2e973d6 16ce3e251a5d1]", fmt.Sprintf("%x", got))
}

// Whatever a condition looks at, who could change its answer waits.
func TestConditionsClashWithWhatCouldChangeThem(t *testing.T) {
	since := func(it eventsource.Item) eventsource.Condition {
		return eventsource.NoneSince(eventsource.Query{it}, 0)
	}
	writer := event("s", "t", "g", "h")
	for name, cond := range map[string]eventsource.Condition{
		"version": eventsource.AtVersion("s", 3), "none": eventsource.NoStream("s"), "exists": eventsource.Exists("s"),
		"tag": since(eventsource.Item{Tags: []string{"h"}}), "tags": since(eventsource.Item{Tags: []string{"g", "h"}}),
		"stream": since(eventsource.Item{Streams: []string{"x", "s"}}), "type": since(eventsource.Item{Types: []string{"x", "t"}}),
		"all":         since(eventsource.Item{}),
		"type of tag": since(eventsource.Item{Types: []string{"t"}, Tags: []string{"g"}}),
	} {
		assert.True(t, clash(only(cond), keys(writer)), name)
	}
	outside := event("", "t")
	assert.True(t, clash(only(since(eventsource.Item{Streams: []string{""}, Types: []string{"t"}})), keys(outside)),
		"an event in no stream locks none")
	assert.True(t, clash(only(since(eventsource.Item{Streams: []string{"", "s"}})), keys(outside)))
	assert.True(t, clash(only(eventsource.Track("a", 1)), only(eventsource.Track("a", 2))))
	twin := eventsource.Event{ID: "1", Type: "t"}
	assert.True(t, clash(keys(twin), keys(twin)), "twins pass one by one")
}

// Appends that do not concern each other run side by side.
func TestIndependentAppendsDoNotClash(t *testing.T) {
	a, b := event("a", "t", "g"), event("b", "t", "g")
	assert.False(t, clash(keys(a), keys(b)), "a hot type and a hot tag are shared")
	assert.False(t, clash(keys(a, eventsource.AtVersion("a", 1)), keys(b, eventsource.AtVersion("b", 1))))
	assert.False(t, clash(keys(event("", "t")), keys(event("", "t"))), "pure events")
	tagged := eventsource.NoneSince(eventsource.Query{{Tags: []string{"other"}, Types: []string{"t"}}}, 0)
	assert.False(t, clash(only(tagged), keys(a)))
}

// A server has room for a limited number of locks.
func TestManyKeysBecomeOne(t *testing.T) {
	var events []eventsource.Event
	for i := range 100 {
		events = append(events, event(fmt.Sprint("s", i), "t"))
	}
	many := eventsql.Keys(all, events)
	assert.Equal(t, []uint64{1}, many)
	assert.True(t, clash(many, keys(event("x", "y"))), "the one excludes everybody")
}

// Taken in one order by everybody, locks cannot deadlock.
func TestKeysAscendWithoutRepeats(t *testing.T) {
	got := eventsql.Keys(0xff, []eventsource.Event{event("a", "t", "g", "h"), event("b", "u", "g")}, eventsource.NoStream("a"))
	for i := 1; i < len(got); i++ {
		assert.True(t, got[i-1]|1 < got[i])
	}
}

// Appends share a transaction only if none has a say in another's conditions.
func TestGroupsKeepWhatDependsApart(t *testing.T) {
	one := func(e eventsource.Event, conds ...eventsource.Condition) []any {
		a := []any{[]eventsource.Event{e}}
		for _, c := range conds {
			a = append(a, c)
		}
		return a
	}
	tag := eventsource.NoneSince(eventsource.Query{{Tags: []string{"g"}}}, 0)
	assert.Equal(t, []int{0, 1, 2}, eventsql.Groups(one(event("a", "t")), one(event("a", "t")), one(event("b", "t"), eventsource.NoStream("b"))))
	assert.Equal(t, []int{0, 2}, eventsql.Groups(one(event("a", "t")), one(event("a", "t"), eventsource.AtVersion("a", 1)), one(event("b", "t"))))
	assert.Equal(t, []int{0}, eventsql.Groups(one(event("a", "t", "g")), one(event("b", "t"), tag)))
	assert.Equal(t, []int{0, 1}, eventsql.Groups(one(event("b", "t"), tag), one(event("a", "t", "g"))), "before it, the tag is not there")
	assert.Equal(t, []int{0}, eventsql.Groups(one(event("a", "t"), eventsource.Track("x", 1)), one(event("b", "t"), eventsource.Track("x", 2))))
	twin := eventsource.Event{ID: "1", Type: "t"}
	assert.Equal(t, []int{0}, eventsql.Groups(one(twin), one(twin)))
	assert.Equal(t, []int{0}, eventsql.Groups(one(event("a", "t")), one(event("b", "t"), eventsource.Exists("a"))))
}
